"""What a raw file cannot say of itself, and how it is to be conditioned: its sidecar says it, or whoever opens it."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.schema import Settings

_PART = "conditioning."


class Hints(Settings):
    """What is known of a recording besides its file. A hint that is given goes before what the file says."""

    unit: str | None = Field(None, description="unit of the stored numbers: V, mV, uV, nV or pV")
    rate_hz: float | None = Field(None, gt=0, description="sampling rate in Hz")
    channel_names: tuple[str, ...] | None = Field(None, description="one name a channel, all different")
    channel_types: tuple[str, ...] | None = Field(
        None, description="what each channel records: excitatory, inhibitory, electrode, ..."
    )
    exclude_channels: tuple[str, ...] = Field((), description="names of channels to leave out")
    series: str | None = Field(
        None, description="which series, stream or well of a file is meant, where it holds several"
    )
    segment: int | None = Field(
        None,
        ge=0,
        description="which segment (sweep, trigger, block) of a file, counted from 0; else each is a recording",
    )
    stimulation_intervals_s: tuple[tuple[float, float], ...] = Field(
        (), description="begin and end of each stimulation, in s from the first sample (gaps not counted); left out"
    )
    condition: str | None = Field(None, description="experimental condition, e.g. baseline or a drug")
    preparation: str | None = Field(None, description="what was recorded, e.g. organoid, brunel")
    conditioning: ConditioningSettings = Field(
        ConditioningSettings(),
        description="settings that are given here go before those in Dagster's config, so that a recording stays what "
        "it is whoever conditions it; written beside the other hints, as `profile: lfp`",
    )

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, content: Any) -> Any:
        """Settings of the conditioning stand beside the other hints where people write them."""
        if not isinstance(content, dict) or "conditioning" in content:
            return content
        conditioning = {name: content[name] for name in content if name in ConditioningSettings.model_fields}
        others = {name: value for name, value in content.items() if name not in conditioning}
        return {**others, "conditioning": conditioning} if conditioning else others

    @field_validator("stimulation_intervals_s")
    @classmethod
    def _forward(cls, intervals_s: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for begin_s, end_s in intervals_s:
            if not 0 <= begin_s < end_s:
                raise ValueError(
                    f"a stimulation must begin at 0 s or later and before its end, got {begin_s} to {end_s}"
                )
        return intervals_s

    def given(self) -> dict[str, Any]:
        """The hints that say something, JSON-able, settings of the conditioning beside the others."""
        said = self.model_dump(mode="json", exclude_defaults=True, exclude={"conditioning"})
        return said | self.conditioning.model_dump(mode="json", exclude_unset=True)

    def conditioning_before(self, settings: ConditioningSettings) -> ConditioningSettings:
        """Settings with those that are given here instead."""
        given = self.conditioning.model_dump(exclude_unset=True)
        return ConditioningSettings.model_validate({**settings.model_dump(), **given})


def validate_hints(content: Mapping[str, Any], source: str) -> Hints:
    """Hints from plain values; `source` says in errors where they came from.

    Raises:
        RecordingError: an unknown key, or a value out of bounds.
    """
    known = [*(name for name in Hints.model_fields if name != "conditioning"), *ConditioningSettings.model_fields]
    unknown = sorted(map(str, content.keys() - set(known)))
    if unknown:
        raise RecordingError(
            f"{source}: unknown hint {', '.join(unknown)}. Known hints: {', '.join(known)}.", code="hint-unknown"
        )
    try:
        return Hints.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])).removeprefix(_PART)}: {each['msg']}" for each in error.errors()
        )
        raise RecordingError(f"{source}: {problems}", code="hint-invalid") from None
