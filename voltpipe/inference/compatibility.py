"""Checks that a forecaster fits a recording: sampling rate, channels, conditioning and size of the voltages."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterConfig, ForecasterError
from voltpipe.recordings.conditioning.signature import signature_difference

_MAX_SD_RATIO = 300.0
"""Ratio of voltage SDs that recordings of an organoid do not reach, but a wrong unit (V, uV) exceeds."""


def check_layout(forecaster: Forecaster, what: str, *, rate_hz: float, channel_names: tuple[str, ...]) -> None:
    """Check sampling rate and channels. `what` begins the error message, such as `The recording`.

    Raises:
        ForecasterError: the rate differs, or the weights belong to other channels.
    """
    config = forecaster.config
    if rate_hz != config.rate_hz:
        raise ForecasterError(
            f"{what} has {rate_hz:g} Hz. The forecaster was trained at {config.rate_hz:g} Hz. "
            "Resample the recording, or use a forecaster for its rate.",
            code="rate-differs",
        )
    if forecaster.module.bound_to_channels and channel_names != config.channel_names:
        missing = tuple(name for name in config.channel_names if name not in channel_names)
        lacking = f"; missing are {_listed(missing)}" if 0 < len(missing) < len(config.channel_names) else ""
        raise ForecasterError(
            f"{what} has other channels ({_listed(channel_names)}) than the weights of this {config.architecture} "
            f"belong to ({_listed(config.channel_names)} of {', '.join(config.organoids)}{lacking}). "
            "Use a forecaster that was trained on this organoid.",
            code="channels-differ",
        )


def check_conditioning(config: ForecasterConfig, what: str, conditioning: Mapping[str, Any], remedy: str) -> None:
    """Check that voltages were conditioned like the training recordings.

    Args:
        config: config of the forecaster.
        what: begins the error message, such as a file name.
        conditioning: conditioning signature of the voltages.
        remedy: ends the error message.

    Raises:
        ForecasterError: the conditioning differs. The message names the difference.
    """
    difference = signature_difference(conditioning, config.conditioning)
    if difference:
        raise ForecasterError(
            f"{what} is not conditioned like the recordings that this {config.architecture} was trained on: "
            f"{difference}. {remedy}",
            code="conditioning-differs",
        )


def check_size(config: ForecasterConfig, what: str, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
    """Check that the SD of the voltages is plausible, which it is not if their unit is wrong.

    Raises:
        ForecasterError: the SD is far from that of the training recordings. The message gives the factor.
    """
    varies = np.isfinite(samples_mv).all(axis=0) & (samples_mv.min(axis=0) < samples_mv.max(axis=0))
    if not varies.any():
        return
    factor = float(np.median(samples_mv[:, varies].std(axis=0, dtype=np.float64)) / np.median(config.sd_mv))
    if not 1 / _MAX_SD_RATIO < factor < _MAX_SD_RATIO:
        raise ForecasterError(
            f"{what} has voltages with {factor:.3g} times the SD of those that this {config.architecture} was trained "
            "on. Check the unit, and state it with the hint `unit`.",
            code="voltage-range-differs",
        )


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
