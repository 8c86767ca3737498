"""Whether a forecaster is for a recording at all: rate, channels, and how the voltage was conditioned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterConfig, ForecasterError
from voltpipe.recordings.conditioning.signature import signature_difference

_MOST_TIMES = 300.0
"""Recordings of a preparation differ less in the SD of their voltages, units more."""


def check_layout(forecaster: Forecaster, what: str, *, rate_hz: float, channel_names: tuple[str, ...]) -> None:
    """Refuse what a forecaster is not for. `what` names it in the refusal, e.g. `the recording`.

    Raises:
        ForecasterError: another rate, or other channels than those that the weights belong to.
    """
    config = forecaster.config
    if rate_hz != config.rate_hz:
        raise ForecasterError(
            f"{what} has {rate_hz:g} Hz, the forecaster was trained at {config.rate_hz:g} Hz. "
            "Resample the recording, or use a forecaster for its rate.",
            code="rate-differs",
        )
    if forecaster.module.bound_to_channels and channel_names != config.channel_names:
        missing = tuple(name for name in config.channel_names if name not in channel_names)
        lacking = f", of which it lacks {_listed(missing)}" if 0 < len(missing) < len(config.channel_names) else ""
        raise ForecasterError(
            f"{what}'s channels ({_listed(channel_names)}) are not those that this {config.architecture} was "
            f"trained on ({_listed(config.channel_names)} of {', '.join(config.organoids)}){lacking}, and its weights "
            "belong to these. Use a forecaster that was trained on this organoid.",
            code="channels-differ",
        )


def check_conditioning(config: ForecasterConfig, what: str, conditioning: Mapping[str, Any], remedy: str) -> None:
    """Refuse voltages that were conditioned otherwise than those that a forecaster was trained on.

    Raises:
        ForecasterError: naming the difference, and the remedy.
    """
    difference = signature_difference(conditioning, config.conditioning)
    if difference:
        raise ForecasterError(
            f"{what} is not conditioned like what this {config.architecture} was trained on: {difference}; {remedy}",
            code="conditioning-differs",
        )


def check_size(config: ForecasterConfig, what: str, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
    """Refuse voltages that vary so much more, or less, than those trained on that their unit must be another.

    Raises:
        ForecasterError: with the factor.
    """
    varies = np.isfinite(samples_mv).all(axis=0) & (samples_mv.min(axis=0) < samples_mv.max(axis=0))
    if not varies.any():
        return
    factor = float(np.median(samples_mv[:, varies].std(axis=0, dtype=np.float64)) / np.median(config.sd_mv))
    if not 1 / _MOST_TIMES < factor < _MOST_TIMES:
        raise ForecasterError(
            f"the voltages of {what} vary {factor:.3g} times as much as those that this {config.architecture} was "
            "trained on. Check the unit, and give it with the hint `unit`.",
            code="voltage-range-differs",
        )


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
