"""The part of a conditioning that a forecaster's recordings have in common: what makes the voltage that it knows.

It travels as plain JSON, from the conditioned recordings to the forecaster. Trim, calibration and the choice of
channels are each recording's own, since forecasts are in mV and a forecaster names its channels; but a common reference
is taken about levels that the calibration span gives.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, Profile

_ALWAYS = {"profile", "common_reference", "blanking_margin_ms"}
_OF_PROFILE: dict[Profile, set[str]] = {
    Profile.MEMBRANE: set(),
    Profile.SPIKES: {"spikes_lowest_hz", "spikes_highest_hz"},
    Profile.LFP: {"lfp_rate_hz", "lfp_passband_share"},
}
_OF_REFERENCE = {"trim_ms", "calibration_s"}
_OF_SATURATION = {"saturation_mv", "saturated_share"}


def conditioning_signature(settings: ConditioningSettings) -> dict[str, Any]:
    """The settings that make the voltage, by name; alike for recordings that one forecaster can be for."""
    names = _ALWAYS | _OF_PROFILE[settings.profile]
    if settings.common_reference:
        names |= _OF_REFERENCE
    if settings.saturation_mv is not None:
        names |= _OF_SATURATION
    return settings.model_dump(mode="json", include=names)


def settings_from_signature(conditioning: Mapping[str, Any]) -> ConditioningSettings:
    """Settings that make the same of another recording, and trim no more of it than the voltage needs.

    Args:
        conditioning: as `conditioning_signature` gives it; empty for voltages as they were recorded.

    Raises:
        RecordingError: it holds what this version does not know.
    """
    try:
        return ConditioningSettings.model_validate({"trim_ms": 0.0, **conditioning})
    except ValidationError as error:
        odd = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise RecordingError(
            f"this version of voltpipe does not know the conditioning: {odd}. Update voltpipe.",
            code="conditioning-unknown",
        ) from None


def signature_label(conditioning: Mapping[str, Any]) -> str:
    """The conditioning in words, e.g. `lfp (lfp_rate_hz 1000, lfp_passband_share 0.6), common reference`."""
    said = _whole(conditioning)
    of_profile = [f"{name} {_plain(value)}" for name, value in said.items() if name in _OF_PROFILE[said["profile"]]]
    label = f"{said['profile']} ({', '.join(of_profile) or 'as recorded'})"
    return f"{label}, common reference" if said["common_reference"] else label


def signature_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What differs, e.g. `profile spikes instead of lfp`; empty where nothing does."""
    found, expected = _whole(found), _whole(expected)
    differing = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    # A profile that differs says enough: the settings of one mean nothing to the other.
    told = [name for name in differing if name in found and name in expected] or differing
    return ", ".join(f"{name} {_plain(found.get(name))} instead of {_plain(expected.get(name))}" for name in told)


def _whole(conditioning: Mapping[str, Any]) -> dict[str, Any]:
    return conditioning_signature(settings_from_signature(conditioning))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
