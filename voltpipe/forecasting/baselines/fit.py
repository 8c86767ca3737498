"""Fits every baseline of a window set."""

from voltpipe.forecasting.architectures.registry import BASELINES
from voltpipe.forecasting.distribution.fit import calibrated
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.side_by_side import side_by_side
from voltpipe.windows.window_set import WindowSet


def fit_baselines(window_set: WindowSet) -> dict[str, Forecaster]:
    """All baselines by name, at all horizons of the window set, fitted on its training rows alone.

    Each has a predictive distribution, from the validation windows, if there are any.

    Raises:
        TrainingDataError: there are too few training rows.
    """

    def fitted(name: str) -> Forecaster:
        forecaster = Forecaster.unfitted(name, window_set)
        forecaster.module.fit(window_set)
        return calibrated(forecaster, window_set)

    return dict(zip(BASELINES, side_by_side(fitted, BASELINES), strict=True))
