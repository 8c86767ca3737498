"""Conditioning signature: the settings that all recordings of one forecaster share.

It is plain JSON that is handed from the conditioned recordings to the forecaster. Trim, calibration and channel
selection are not part of it, because forecasts are in mV and a forecaster names its channels. A common reference is an
exception: its levels come from the calibration span.
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
    """Return the settings that determine the voltage. They are equal for all recordings of one forecaster."""
    names = _ALWAYS | _OF_PROFILE[settings.profile]
    if settings.common_reference:
        names |= _OF_REFERENCE
    if settings.saturation_mv is not None:
        names |= _OF_SATURATION
    return settings.model_dump(mode="json", include=names)


def settings_from_signature(conditioning: Mapping[str, Any]) -> ConditioningSettings:
    """Return settings that condition another recording in the same way, with no unnecessary trim.

    Args:
        conditioning: from `conditioning_signature`; empty for unconditioned voltages.

    Raises:
        RecordingError: it has settings that this version does not know.
    """
    try:
        return ConditioningSettings.model_validate({"trim_ms": 0.0, **conditioning})
    except ValidationError as error:
        odd = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise RecordingError(
            f"This version of voltpipe does not know the conditioning: {odd}. Update voltpipe.",
            code="conditioning-unknown",
        ) from None


def signature_label(conditioning: Mapping[str, Any]) -> str:
    """Describe a signature, for example `lfp (lfp_rate_hz 1000, lfp_passband_share 0.6), common reference`."""
    settings = _whole(conditioning)
    of_profile = [
        f"{name} {_plain(value)}" for name, value in settings.items() if name in _OF_PROFILE[settings["profile"]]
    ]
    label = f"{settings['profile']} ({', '.join(of_profile) or 'as recorded'})"
    return f"{label}, common reference" if settings["common_reference"] else label


def signature_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Describe the difference, for example `profile spikes instead of lfp`; empty if there is none."""
    found, expected = _whole(found), _whole(expected)
    differing = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    # Settings that only one profile has are left out if another difference explains it.
    named = [name for name in differing if name in found and name in expected] or differing
    return ", ".join(f"{name} {_plain(found.get(name))} instead of {_plain(expected.get(name))}" for name in named)


def _whole(conditioning: Mapping[str, Any]) -> dict[str, Any]:
    return conditioning_signature(settings_from_signature(conditioning))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
