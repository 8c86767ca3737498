"""Whether a forecaster is for a recording at all: rate, channels, and how the voltage was conditioned."""

from collections.abc import Mapping
from typing import Any

from voltpipe.forecasting.forecaster import Forecaster, ForecasterConfig, ForecasterError
from voltpipe.recordings.shared_conditioning import conditioning_difference


def check_layout(forecaster: Forecaster, what: str, *, rate_hz: float, channel_names: tuple[str, ...]) -> None:
    """Refuse what a forecaster is not for. `what` names it in the refusal, e.g. `the recording`.

    Raises:
        ForecasterError: another rate, or other channels than those that the weights belong to.
    """
    config = forecaster.config
    if rate_hz != config.rate_hz:
        raise ForecasterError(
            f"{what} has {rate_hz:g} Hz, the forecaster was trained at {config.rate_hz:g} Hz; "
            "resample the recording, or use a forecaster for its rate"
        )
    if forecaster.module.bound_to_channels and channel_names != config.channel_names:
        missing = tuple(name for name in config.channel_names if name not in channel_names)
        lacking = f", of which it lacks {_listed(missing)}" if 0 < len(missing) < len(config.channel_names) else ""
        raise ForecasterError(
            f"{what}'s channels ({_listed(channel_names)}) are not those that this {config.architecture} was "
            f"trained on ({_listed(config.channel_names)} of {', '.join(config.organoids)}){lacking}, and its weights "
            "belong to these; use a forecaster that was trained on this organoid"
        )


def check_conditioning(config: ForecasterConfig, what: str, conditioning: Mapping[str, Any], remedy: str) -> None:
    """Refuse voltages that were conditioned otherwise than those that a forecaster was trained on.

    Raises:
        ForecasterError: naming the difference, and the remedy.
    """
    difference = conditioning_difference(conditioning, config.conditioning)
    if difference:
        raise ForecasterError(
            f"{what} is conditioned otherwise than what this {config.architecture} was trained on: "
            f"{difference}; {remedy}"
        )


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
