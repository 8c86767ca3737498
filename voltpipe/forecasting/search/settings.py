"""Settings of the hyperparameter search: ranges, budget and pruning."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field, ValidationError, model_validator

from voltpipe.forecasting.settings import TrainingSettings

SEARCHED = ("learning_rate", "weight_decay", "batch_size", "windows_per_epoch", "noise_mv")
LINEAR = ("noise_mv",)
"""Settings drawn uniformly. All others are drawn log-uniformly."""


class Pruner(StrEnum):
    """Pruning rule, applied to the lowest validation loss after each tenth of a trial's time."""

    MEDIAN = "median"
    """Prune a trial whose loss is above the median of the earlier trials."""
    HALVING = "halving"
    """Keep the best third of the trials after one, three and nine tenths (successive halving)."""
    NONE = "none"


class SearchSettings(TrainingSettings):
    """Settings of a search over those settings in `SEARCHED` that are unset, and of the training of its trials."""

    n_trials: int = Field(20, ge=1, le=100_000, description="Number of trials, including pruned ones.")
    search_budget_s: float = Field(
        3600.0,
        ge=1,
        le=90 * 86_400,
        description="Limit on the total training time, in s. A trial that could exceed it is not started.",
    )
    pruner: Pruner = Field(
        Pruner.MEDIAN, description="Rule for stopping unpromising trials early, by their validation loss."
    )
    trials_before_pruning: int = Field(
        4, ge=1, le=1000, description="Number of trials trained to the end before the median rule prunes any."
    )
    learning_rate_range: tuple[float, float] = Field(
        (3e-4, 3e-2), description="Range of learning rates to search. Ignored if the learning rate is set."
    )
    weight_decay_range: tuple[float, float] = Field(
        (1e-6, 1e-1), description="Range of weight decays to search. Ignored if the weight decay is set."
    )
    batch_size_range: tuple[int, int] = Field(
        (1, 64), description="Range of batch sizes to search, in windows. Ignored if the batch size is set."
    )
    windows_per_epoch_range: tuple[int, int] = Field(
        (100, 2000),
        description="Range of windows per epoch to search. Ignored if the windows per epoch are set.",
    )
    noise_mv_range: tuple[float, float] = Field(
        (0.0, 1.0), description="Range of added noise to search, in mV. Ignored if the noise is set."
    )

    @model_validator(mode="after")
    def _check_search_space(self) -> "SearchSettings":
        for name in SEARCHED:
            _check_range(name, getattr(self, f"{name}_range"))
        if not self.searched():
            raise ValueError(f"Nothing is left to search. Leave one of {', '.join(SEARCHED)} unset.")
        if self.search_budget_s < self.budget_s:
            raise ValueError(
                f"search_budget_s {self.search_budget_s:g} is less than the budget_s {self.budget_s:g} of one trial. "
                "Raise search_budget_s."
            )
        return self

    def searched(self) -> tuple[str, ...]:
        """List the training settings to search: those that are unset."""
        return tuple(name for name in SEARCHED if getattr(self, name) is None)

    def with_values(self, values: Mapping[str, int | float]) -> TrainingSettings:
        """Return the settings of a trial with these values."""
        return TrainingSettings.model_validate({**self.part(TrainingSettings).model_dump(), **values})

    def identity(self) -> dict[str, object]:
        """Return the settings that a resumed search must share: all but the number of trials and the search budget."""
        return self.model_dump(mode="json", exclude={"n_trials", "search_budget_s"})


def _check_range(name: str, ends: tuple[int | float, int | float]) -> None:
    low, high = ends
    if not low < high:
        raise ValueError(f"{name}_range {ends} is empty. Expected (lower, upper). For a single value, set {name}.")
    if low <= 0 and name not in LINEAR:
        raise ValueError(
            f"{name}_range {ends} contains 0 or less. It is searched on a log scale, so both ends must be above 0."
        )
    for end in ends:
        try:
            TrainingSettings.model_validate({name: end})
        except ValidationError as error:
            raise ValueError(f"{name}_range {ends}: {name} cannot be {end}: {error.errors()[0]['msg']}.") from error
