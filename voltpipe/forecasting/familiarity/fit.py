"""Learns from training windows what is familiar, and from validation windows how far from it is seldom."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.forecasting.familiarity.familiarity import Familiarity, FamiliarityConfig
from voltpipe.forecasting.familiarity.features import channel_features, common_features, whole_features
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.sampling import calibration_windows
from voltpipe.windows.split import Split
from voltpipe.windows.window_set import WindowSet

FALSE_ALARMS = 0.01
_MAX_VALUES = 30_000_000
"""Voltages that are looked at, of training and again of validation; more would cost time and change little."""
_LEAST_WINDOWS = 200
_BATCH_VALUES = 1 << 20
_SHRINKAGE = 0.1
"""Of the features' correlations towards none."""


def familiar(forecaster: Forecaster, window_set: WindowSet) -> Forecaster:
    """The forecaster that recognises what it was not trained on; as it is, if no windows are for validation.

    Features and their spread come from training windows, the limit that so few windows exceed from validation windows.
    No other sample is read.
    """
    context = forecaster.config.context_samples
    most = max(_LEAST_WINDOWS, _MAX_VALUES // (context * window_set.n_channels))
    trained, validating = window_set.windows(Split.TRAIN), calibration_windows(window_set, most)
    if not len(trained) or not len(validating):
        return forecaster
    trained = trained[np.linspace(0, len(trained) - 1, min(most, len(trained))).astype(np.int64)]
    familiarity = Familiarity(
        FamiliarityConfig(
            n_channels=window_set.n_channels,
            context_samples=context,
            rate_hz=window_set.rate_hz,
            false_alarms=FALSE_ALARMS,
        )
    )
    familiarity.centre_mv.copy_(torch.tensor(forecaster.config.mean_mv))
    familiarity.scale_mv.copy_(torch.tensor(forecaster.config.sd_mv))
    _learn_features(familiarity, window_set, trained)
    _set_limits(familiarity, window_set, validating)
    return replace(forecaster, familiarity=familiarity)


def _learn_features(familiarity: Familiarity, window_set: WindowSet, windows: Int64[np.ndarray, " window"]) -> None:
    # One sample more or less is nothing to speak of, however steady a channel was in training.
    least = 1 / familiarity.config.context_samples
    of_channels, in_common = [], []
    for history_mv in _histories_mv(window_set, windows):
        scaled = familiarity.scaled(history_mv)
        of_channels.append(channel_features(scaled))
        in_common.append(common_features(scaled, window_set.rate_hz))
    features = torch.cat(of_channels)
    familiarity.feature_mean.copy_(features.mean(0))
    familiarity.feature_sd.copy_(features.std(0, correction=0).clamp(min=least))
    features_z = familiarity.standardised(features)
    familiarity.feature_precision.copy_(_precision(features_z.flatten(0, 1)))
    whole = whole_features(features_z, torch.cat(in_common))
    familiarity.whole_mean.copy_(whole.mean(0))
    familiarity.whole_sd.copy_(whole.std(0, correction=0).clamp(min=least))
    familiarity.whole_precision.copy_(_precision((whole - familiarity.whole_mean) / familiarity.whole_sd))


def _set_limits(familiarity: Familiarity, window_set: WindowSet, windows: Int64[np.ndarray, " window"]) -> None:
    """Each of the two distances is given half of the false alarms, and both together then all of them."""
    judged = [familiarity.judge(history_mv) for history_mv in _histories_mv(window_set, windows)]
    distances = torch.stack(
        [
            torch.cat([judgement.channel_score.amax(1) for judgement in judged]),
            torch.cat([judgement.whole_score for judgement in judged]),
        ]
    )
    of_each = distances.quantile(1 - FALSE_ALARMS / 2, dim=1)
    familiarity.limits.copy_(of_each * (distances / of_each[:, None]).amax(0).quantile(1 - FALSE_ALARMS))


def _precision(z: Float[Tensor, "window feature"]) -> Float[Tensor, "feature feature"]:
    correlation = z.T @ z / len(z)
    shrunken = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * torch.eye(z.shape[1])
    return shrunken.inverse()


def _histories_mv(
    window_set: WindowSet, windows: Int64[np.ndarray, " window"]
) -> Iterator[Float[Tensor, "batch time channel"]]:
    size = max(1, _BATCH_VALUES // (window_set.context * window_set.n_channels))
    for first in range(0, len(windows), size):
        yield window_set.batch(windows[first : first + size]).history_mv()
