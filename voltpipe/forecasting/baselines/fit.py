"""Fits every baseline of a window set."""

from voltpipe.forecasting.architectures.registry import BASELINES
from voltpipe.forecasting.distribution.fit import calibrated
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet


def fit_baselines(window_set: WindowSet) -> dict[str, Forecaster]:
    """All baselines by name, at all horizons of the window set, fitted on its training rows alone.

    Each has a predictive distribution, from the validation windows, if there are any.

    Raises:
        TrainingDataError: there are too few training rows.
    """
    return {name: _fitted(name, window_set) for name in BASELINES}


def _fitted(name: str, window_set: WindowSet) -> Forecaster:
    forecaster = Forecaster.unfitted(name, window_set)
    forecaster.module.fit(window_set)
    return calibrated(forecaster, window_set)
