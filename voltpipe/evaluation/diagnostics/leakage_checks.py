"""Checks of the evaluation itself, made in every evaluation: could its scores come from a leak, or from the scoring?"""

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

_MOST_WINDOWS = 500
_LEAST_WINDOWS = 50
_MOST_PRODUCTS = 3e10
_ROWS_AT_ONCE = 1 << 14
_CHANCE_R2 = 0.01
"""Largest R2 by chance of a forecaster that knows nothing, on so few windows."""


@dataclass(frozen=True)
class LeakageCheck:
    """One check, and what it found, in words with figures."""

    name: str
    passed: bool
    finding: str
    r2: float | None
    """R2 that the check measured at the shortest horizon; None if the check failed."""


CHECKS = ("leak_probe", "other_moments", "time_reversal")


def run_leakage_checks(forecaster: Forecaster, look_up: Forecaster, window_set: WindowSet) -> tuple[LeakageCheck, ...]:
    """Check an evaluation on some hundred windows of its strictest regime, at the shortest horizon.

    There are three checks. A memorizer forecasts what followed the most similar training sample, over all channels at
    once. It is perfect if held-out samples were trained on; otherwise the lookup table beats it. Forecasts are scored
    against targets from other times, about which they can only know the mean voltage. And time is reversed: a
    forecaster that learned dynamics forecasts the reversed recording worse.

    Each check runs on its own. One that raises counts as failed, with the reason as its finding.

    Args:
        forecaster: the evaluated forecaster.
        look_up: lookup table fitted on the same training rows.
        window_set: window set with held-out windows.
    """

    @cache
    def tried() -> _Trial:
        return _Trial(forecaster, window_set)

    checks: tuple[Callable[[], LeakageCheck], ...] = (
        lambda: _leak_probe(tried().memoriser_r2(), tried().look_up_r2(look_up)),
        lambda: _other_moments(tried().other_moments_r2(), tried().own_r2()),
        lambda: _time_reversal(tried().reversed_r2(), tried().own_r2()),
    )
    return tuple(check_or_failure(name, check) for name, check in zip(CHECKS, checks, strict=True))


def check_or_failure(name: str, check: Callable[[], LeakageCheck]) -> LeakageCheck:
    """Make a check; if it raises, it has failed and its finding is the reason."""
    made = attempt(check)
    return (
        LeakageCheck(name, False, f"it could not be made: {made.reason}", None) if isinstance(made, Failure) else made
    )


def _leak_probe(memoriser_r2: float, look_up_r2: float) -> LeakageCheck:
    passed = memoriser_r2 <= look_up_r2
    meaning = "held-out samples were not trained on" if passed else "held-out samples were trained on"
    finding = f"a memoriser of the training windows has R2 {memoriser_r2:.3f}, a look-up {look_up_r2:.3f}: {meaning}"
    return LeakageCheck("leak_probe", passed, finding, memoriser_r2)


def _other_moments(shuffled_r2: float, r2: float) -> LeakageCheck:
    passed = shuffled_r2 <= _CHANCE_R2
    meaning = "the score is for what comes next" if passed else "so much is for knowing the level of the voltage alone"
    finding = f"against the truth of other moments R2 is {shuffled_r2:.3f} instead of {r2:.3f}: {meaning}"
    return LeakageCheck("other_moments", passed, finding, shuffled_r2)


def _time_reversal(reversed_r2: float, r2: float) -> LeakageCheck:
    passed = reversed_r2 <= r2 + _CHANCE_R2
    meaning = (
        "it forecasts the future better than the past, or equally well if the voltage is symmetric in time"
        if passed
        else "it forecasts the past better than the future, which it was never trained for"
    )
    finding = f"with time running backwards R2 is {reversed_r2:.3f} instead of {r2:.3f}: {meaning}"
    return LeakageCheck("time_reversal", passed, finding, reversed_r2)


def _some(windows: Int64[np.ndarray, " window"], window_set: WindowSet) -> Int64[np.ndarray, " fewer"]:
    """Evenly spread ones, the fewer the more there is to remember."""
    affordable = int(_MOST_PRODUCTS / window_set.samples_z.numel())
    return evenly_spaced(windows, max(_LEAST_WINDOWS, min(_MOST_WINDOWS, affordable)))


class _Trial:
    """Some held-out windows, and what is true at the forecaster's shortest horizon."""

    def __init__(self, forecaster: Forecaster, window_set: WindowSet) -> None:
        regime, windows = strictest_regime_windows(forecaster, window_set)
        windows = _some(windows, window_set)
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
        """The forecaster's forecasts."""
        return self.forecast_mv(self.used, self.history_z)

    def own_r2(self) -> float:
        """R2 of the forecaster."""
        return self.r2(self.own_mv, self.true_z)

    def look_up_r2(self, look_up: Forecaster) -> float:
        """R2 of the conditional mean."""
        return self.r2(self.forecast_mv(lambda _: look_up, self.history_z), self.true_z)

    def memoriser_r2(self) -> float:
        """R2 of what followed the training moment that is most like the present one."""
        return self.r2(self.memorised_mv(), self.true_z)

    def other_moments_r2(self) -> float:
        """R2 of the forecasts against the truth of other moments."""
        return self.r2(self.own_mv.roll(len(self.own_mv) // 2, 0), self.true_z)

    def _mv(self, values_z: Float[Tensor, "window channel"]) -> Float[Tensor, "window channel"]:
        return to_mv(values_z, self.mean_mv, self.sd_mv)

    def forecast_mv(
        self, used: Callable[[int], Forecaster], history_z: Float[Tensor, "window context channel"]
    ) -> Float[Tensor, "window channel"]:
        """Forecast with the forecaster that `used` returns for each recording number."""
        forecast_z = torch.empty_like(history_z[:, 0])
        for number in np.unique(self.recordings):
            own = torch.from_numpy(self.recordings == number)
            of_it = used(int(number)).predict_z(history_z[own], self.mean_mv[own], self.sd_mv[own])
            forecast_z[own] = of_it[:, 0]
        return self._mv(forecast_z)

    def reversed_r2(self) -> float:
        """R2 of forecasting what was before each window, from the window read backwards."""
        context = self.window_set.context
        backwards_z = self.window_z.flip(1)[:, -(context + self.horizon) :]
        return self.r2(self.forecast_mv(self.used, backwards_z[:, :context]), backwards_z[:, -1])

    def memorised_mv(self) -> Float[Tensor, "window channel"]:
        """Return what followed the training sample nearest to each present sample, over all channels."""
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


SEED_SPREAD = "seed_spread"
_OF_A_RUN = frozenset({"seed", "epochs", "best_epoch", "stopped_because", "elapsed_s", "resumed_after_epoch"})
"""Settings that may differ between two trainings with the same settings."""
_SPREADS = 2.0


def seed_spread(evaluation: Evaluation, others: Iterable[Evaluation]) -> LeakageCheck:
    """Is the lead over the best baseline more than twice the SD over seeds, at the shortest horizon?

    Args:
        evaluation: that of the forecaster in question.
        others: evaluations of any forecasters; those count that differ in their seed alone. Without any, the check
            passes and says that the spread is not known.
    """
    regime, horizon = evaluation.regimes[0], evaluation.horizons[0]

    def r2_of(one: Evaluation) -> float:
        return one.score(one.forecaster, regime, horizon).r2

    baselines = [evaluation.find_score(name, regime, horizon) for name in evaluation.baselines]
    lead = r2_of(evaluation) - max((score.r2 for score in baselines if score), default=0.0)
    like = {_seed(one): r2_of(one) for one in others if _apart_from_seed(one) == _apart_from_seed(evaluation)}
    like[_seed(evaluation)] = r2_of(evaluation)
    if len(like) < 2:
        finding = (
            f"it leads the best baseline by {lead:+.3f} R2; how much of that another seed would change is not known, "
            "as no other training here differs from this one in its seed alone (`voltpipe train --seed`)"
        )
        return LeakageCheck(SEED_SPREAD, True, finding, 0.0)
    spread = float(np.std(list(like.values()), ddof=1))
    passed = abs(lead) > _SPREADS * spread
    meaning = "that is not the seed" if passed else "that may be no more than the seed"
    finding = (
        f"it leads the best baseline by {lead:+.3f} R2, and {len(like)} seeds differ by {spread:.4f} (SD): {meaning}"
    )
    return LeakageCheck(SEED_SPREAD, passed, finding, spread)


def _seed(evaluation: Evaluation) -> Any:
    return evaluation.provenance.settings["training"].get("seed")


def _apart_from_seed(evaluation: Evaluation) -> dict[str, Any]:
    settings = dict(evaluation.provenance.settings)
    training = {name: value for name, value in settings.pop("training").items() if name not in _OF_A_RUN}
    return {"windows_of": evaluation.provenance.window_set_digest, "training": training, **settings}
