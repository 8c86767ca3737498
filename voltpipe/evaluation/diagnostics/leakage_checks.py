"""Leakage checks of every evaluation: whether its scores could come from a leak, or from the way of scoring."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.evaluation.held_out_windows import evenly_spaced, forecaster_for_regime, strictest_regime_windows
from voltpipe.evaluation.isolation import Failure, attempt
from voltpipe.evaluation.results import Evaluation
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.leakage import rows_in_windows
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet, to_mv

CHECKS = ("leak_probe", "other_moments", "time_reversal")
SEED_SPREAD = "seed_spread"
_MOST_WINDOWS = 500
_LEAST_WINDOWS = 50
_MOST_PRODUCTS = 3e10
_ROWS_AT_ONCE = 1 << 14
_CHANCE_R2 = 0.01
"""R2 that a forecast without any knowledge may reach by chance on this few windows."""
_SEED_DEPENDENT = frozenset({"seed", "epochs", "best_epoch", "stopped_because", "elapsed_s", "resumed_after_epoch"})
"""Settings and results that may differ between two trainings that differ only in the seed."""
_SPREADS = 2.0


@dataclass(frozen=True)
class LeakageCheck:
    """Result of one check, with its finding as text."""

    name: str
    passed: bool
    finding: str
    r2: float | None
    """R2 that the check measured, at the shortest horizon; None if the check itself failed."""


def run_leakage_checks(forecaster: Forecaster, look_up: Forecaster, window_set: WindowSet) -> tuple[LeakageCheck, ...]:
    """Check an evaluation on up to 500 windows of its strictest regime, at the shortest horizon.

    - `leak_probe`: a memorizer forecasts the sample that followed the nearest training sample, over all channels at
      once. It is perfect if held-out samples were trained on. Otherwise the lookup table beats it.
    - `other_moments`: forecasts are scored against the truth of other windows. They should know only the general level
      of the voltage there.
    - `time_reversal`: time runs backward. A forecaster that has learned the dynamics is worse at the past than at the
      future.

    Checks are isolated from each other. A check that raises counts as failed, with the reason as its finding.

    Args:
        forecaster: the forecaster that was scored.
        look_up: lookup table, fitted on the same training rows.
        window_set: window set with held-out windows.
    """

    @cache
    def trial() -> _Trial:
        return _Trial(forecaster, window_set)

    checks: tuple[Callable[[], LeakageCheck], ...] = (
        lambda: _leak_probe(trial().memorizer_r2(), trial().look_up_r2(look_up)),
        lambda: _other_moments(trial().other_moments_r2(), trial().own_r2()),
        lambda: _time_reversal(trial().reversed_r2(), trial().own_r2()),
    )
    return tuple(check_or_failure(name, check) for name, check in zip(CHECKS, checks, strict=True))


def seed_spread(evaluation: Evaluation, others: Iterable[Evaluation]) -> LeakageCheck:
    """Check that the lead over the best baseline exceeds twice the SD over seeds, at the shortest horizon.

    Args:
        evaluation: evaluation of the forecaster.
        others: evaluations of any forecasters. Those that differ only in the seed are used. Without any, the check
            passes and says that the spread is unknown.
    """
    regime, horizon = evaluation.regimes[0], evaluation.horizons[0]

    def r2_of(one: Evaluation) -> float:
        return one.score(one.forecaster, regime, horizon).r2

    baselines = [evaluation.find_score(name, regime, horizon) for name in evaluation.baselines]
    lead = r2_of(evaluation) - max((score.r2 for score in baselines if score), default=0.0)
    r2_by_seed = {_seed(one): r2_of(one) for one in others if _apart_from_seed(one) == _apart_from_seed(evaluation)}
    r2_by_seed[_seed(evaluation)] = r2_of(evaluation)
    if len(r2_by_seed) < 2:
        finding = (
            f"The forecaster leads the best baseline by {lead:+.3f} R2. The spread between seeds is unknown, because "
            "no other training differs only in its seed (`voltpipe train --seed`)."
        )
        return LeakageCheck(SEED_SPREAD, True, finding, 0.0)
    spread = float(np.std(list(r2_by_seed.values()), ddof=1))
    passed = abs(lead) > _SPREADS * spread
    meaning = "The lead exceeds the spread." if passed else "The lead may come from the seed alone."
    finding = (
        f"The forecaster leads the best baseline by {lead:+.3f} R2. "
        f"{len(r2_by_seed)} seeds differ by {spread:.4f} (SD). {meaning}"
    )
    return LeakageCheck(SEED_SPREAD, passed, finding, spread)


def check_or_failure(name: str, check: Callable[[], LeakageCheck]) -> LeakageCheck:
    """Make a check. If it raises, it counts as failed and its finding is the reason."""
    made = attempt(check)
    return (
        LeakageCheck(name, False, f"The check could not be made: {made.reason}", None)
        if isinstance(made, Failure)
        else made
    )


def _leak_probe(memorizer_r2: float, look_up_r2: float) -> LeakageCheck:
    passed = memorizer_r2 <= look_up_r2
    meaning = (
        "There is no sign that held-out samples were used in training."
        if passed
        else "Held-out samples were trained on."
    )
    finding = (
        f"A nearest-neighbor forecaster that memorizes the training windows has R2 {memorizer_r2:.3f}. The lookup "
        f"table has {look_up_r2:.3f}. {meaning}"
    )
    return LeakageCheck("leak_probe", passed, finding, memorizer_r2)


def _other_moments(shuffled_r2: float, r2: float) -> LeakageCheck:
    passed = shuffled_r2 <= _CHANCE_R2
    meaning = (
        "The score is specific to the future of each window."
        if passed
        else "That part of the score only reflects the level of the voltage."
    )
    finding = (
        f"Scored against the true voltage of other windows, R2 is {shuffled_r2:.3f} instead of {r2:.3f}. {meaning}"
    )
    return LeakageCheck("other_moments", passed, finding, shuffled_r2)


def _time_reversal(reversed_r2: float, r2: float) -> LeakageCheck:
    passed = reversed_r2 <= r2 + _CHANCE_R2
    meaning = (
        "Forecasts of reversed time are not better. They would be as good if the voltage were symmetric in time."
        if passed
        else "Forecasts of reversed time are better, although the forecaster was not trained for them."
    )
    finding = f"On recordings played backwards, R2 is {reversed_r2:.3f} instead of {r2:.3f}. {meaning}"
    return LeakageCheck("time_reversal", passed, finding, reversed_r2)


class _Trial:
    """Held-out windows, and forecasts and truth at the forecaster's shortest horizon."""

    def __init__(self, forecaster: Forecaster, window_set: WindowSet) -> None:
        regime, windows = strictest_regime_windows(forecaster, window_set)
        windows = _evenly_spaced(windows, window_set)
        self.used = forecaster_for_regime(forecaster, window_set, regime)
        self.window_set, self.horizon = window_set, forecaster.horizons[0]
        self.recordings = window_set.index["recording"][windows]
        self.window_z = window_set.segment(windows, window_set.settings.window_samples)
        self.mean_mv, self.sd_mv = window_set.calibration_mv(self.recordings)

        self.history_z = self.window_z[:, : window_set.context]
        self.true_z = self.window_z[:, window_set.context - 1 + self.horizon]

    def r2(self, forecast_mv: Float[Tensor, "window channel"], true_z: Float[Tensor, "window channel"]) -> float:
        sums = ErrorSums(1, self.window_set.train_mean_mv())
        sums.add(forecast_mv[:, None], self._mv(true_z)[:, None])
        return float(sums.r2()[0])

    @cached_property
    def own_mv(self) -> Float[Tensor, "window channel"]:
        """Forecasts of the forecaster, in mV."""
        return self.forecast_mv(self.used, self.history_z)

    def own_r2(self) -> float:
        """Return R2 of the forecaster."""
        return self.r2(self.own_mv, self.true_z)

    def look_up_r2(self, look_up: Forecaster) -> float:
        """Return R2 of the lookup table."""
        return self.r2(self.forecast_mv(lambda _: look_up, self.history_z), self.true_z)

    def memorizer_r2(self) -> float:
        """Return R2 of the memorizer."""
        return self.r2(self.memorized_mv(), self.true_z)

    def other_moments_r2(self) -> float:
        """Return R2 of the forecasts against the truth of other windows."""
        return self.r2(self.own_mv.roll(len(self.own_mv) // 2, 0), self.true_z)

    def _mv(self, values_z: Float[Tensor, "window channel"]) -> Float[Tensor, "window channel"]:
        return to_mv(values_z, self.mean_mv, self.sd_mv)

    def forecast_mv(
        self, used: Callable[[int], Forecaster], history_z: Float[Tensor, "window context channel"]
    ) -> Float[Tensor, "window channel"]:
        """Forecast with the forecaster that `used` returns for each recording's number."""
        forecast_z = torch.empty_like(history_z[:, 0])
        for number in np.unique(self.recordings):
            own = torch.from_numpy(self.recordings == number)
            own_z = used(int(number)).predict_z(history_z[own], self.mean_mv[own], self.sd_mv[own])
            forecast_z[own] = own_z[:, 0]
        return self._mv(forecast_z)

    def reversed_r2(self) -> float:
        """Return R2 of forecasting the sample before each window, from the window read backward."""
        context = self.window_set.context
        backward_z = self.window_z.flip(1)[:, -(context + self.horizon) :]
        return self.r2(self.forecast_mv(self.used, backward_z[:, :context]), backward_z[:, -1])

    def memorized_mv(self) -> Float[Tensor, "window channel"]:
        """Return the voltage that followed the training row nearest to each present sample, over all channels."""
        present_z = self.window_z[:, self.window_set.context - 1]
        least = torch.full((len(present_z),), torch.inf)
        followed_z = torch.zeros_like(present_z)
        trained = torch.from_numpy(rows_in_windows(self.window_set, Split.TRAIN))
        rows = torch.nonzero(trained[: -self.horizon] & trained[self.horizon :])[:, 0]
        for some in torch.split(rows, _ROWS_AT_ONCE):
            distance, nearest = torch.cdist(present_z, self.window_set.samples_z[some]).min(dim=1)
            closer = distance < least
            least[closer] = distance[closer]
            followed_z[closer] = self.window_set.samples_z[some[nearest[closer]] + self.horizon]
        return self._mv(followed_z)


def _evenly_spaced(windows: Int64[np.ndarray, " window"], window_set: WindowSet) -> Int64[np.ndarray, " fewer"]:
    """Return evenly spaced windows; fewer if there are more training samples to search."""
    affordable = int(_MOST_PRODUCTS / window_set.samples_z.numel())
    return evenly_spaced(windows, max(_LEAST_WINDOWS, min(_MOST_WINDOWS, affordable)))


def _seed(evaluation: Evaluation) -> Any:
    return evaluation.provenance.settings["training"].get("seed")


def _apart_from_seed(evaluation: Evaluation) -> dict[str, Any]:
    settings = dict(evaluation.provenance.settings)
    training = {name: value for name, value in settings.pop("training").items() if name not in _SEED_DEPENDENT}
    return {"windows_of": evaluation.provenance.window_set_digest, "training": training, **settings}
