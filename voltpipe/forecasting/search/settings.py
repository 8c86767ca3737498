"""What is searched, how long, and when a trial is given up."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field, ValidationError, model_validator

from voltpipe.forecasting.settings import TrainingSettings

SEARCHED = ("learning_rate", "weight_decay", "batch_size", "windows_per_epoch", "noise_mv")
LINEAR = ("noise_mv",)
"""Drawn evenly; all others are drawn evenly by their logarithm."""


class Pruner(StrEnum):
    """When a trial is given up, by its lowest validation loss after each tenth of its time."""

    MEDIAN = "median"
    """Once it is above the median of the earlier trials."""
    HALVING = "halving"
    """Unless it is among the best third of the earlier trials, after one, three and nine tenths."""
    NONE = "none"


class SearchSettings(TrainingSettings):
    """How each trial is trained, and the search over what is left at none of `SEARCHED`."""

    n_trials: int = Field(
        20, ge=1, le=100_000, description="the search ends after so many trials, pruned ones included"
    )
    search_budget_s: float = Field(
        3600.0,
        ge=1,
        le=90 * 86_400,
        description="no trial begins that could end later than after so many seconds of training, all trials together",
    )
    pruner: Pruner = Field(Pruner.MEDIAN, description="when a trial is given up; its validation loss decides")
    trials_before_pruning: int = Field(
        4, ge=1, le=1000, description="so many trials are trained to the end before the median gives any up"
    )
    learning_rate_range: tuple[float, float] = Field((3e-4, 3e-2), description="searched unless learning_rate is set")
    weight_decay_range: tuple[float, float] = Field((1e-6, 1e-1), description="searched unless weight_decay is set")
    batch_size_range: tuple[int, int] = Field((1, 64), description="searched unless batch_size is set")
    windows_per_epoch_range: tuple[int, int] = Field(
        (100, 2000), description="searched unless windows_per_epoch is set"
    )
    noise_mv_range: tuple[float, float] = Field((0.0, 1.0), description="searched unless noise_mv is set, in mV")

    @model_validator(mode="after")
    def _can_begin(self) -> "SearchSettings":
        for name in SEARCHED:
            _check_range(name, getattr(self, f"{name}_range"))
        if not self.searched():
            raise ValueError(f"nothing is left to search; leave one of {', '.join(SEARCHED)} unset")
        if self.search_budget_s < self.budget_s:
            raise ValueError(
                f"search_budget_s {self.search_budget_s:g} has no room for a trial of budget_s {self.budget_s:g}"
            )
        return self

    def searched(self) -> tuple[str, ...]:
        """Which training settings are searched."""
        return tuple(name for name in SEARCHED if getattr(self, name) is None)

    def with_values(self, values: Mapping[str, int | float]) -> TrainingSettings:
        """How one trial is trained."""
        return TrainingSettings.model_validate({**self.part(TrainingSettings).model_dump(), **values})

    def identity(self) -> dict[str, object]:
        """What must be alike for a search to go on: all but how much is searched."""
        return self.model_dump(mode="json", exclude={"n_trials", "search_budget_s"})


def _check_range(name: str, ends: tuple[int | float, int | float]) -> None:
    low, high = ends
    if not low < high:
        raise ValueError(f"{name}_range {ends}: expected the lower end before the upper; for one value, set {name}")
    if low <= 0 and name not in LINEAR:
        raise ValueError(f"{name}_range {ends}: expected ends above 0, for it is searched by its logarithm")
    for end in ends:
        try:
            TrainingSettings.model_validate({name: end})
        except ValidationError as error:
            raise ValueError(f"{name}_range {ends}: {name} cannot be {end}: {error.errors()[0]['msg']}") from error
