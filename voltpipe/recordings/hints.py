"""Hints: metadata that a raw file lacks, and its conditioning, from a sidecar or from options."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.schema import Settings

_PART = "conditioning."


class Hints(Settings):
    """Metadata of a recording from outside its file. A hint overrides the file."""

    unit: str | None = Field(None, description="Unit of the stored numbers: V, mV, uV, nV or pV.")
    rate_hz: float | None = Field(None, gt=0, description="Sampling rate in Hz.")
    channel_names: tuple[str, ...] | None = Field(
        None, description="Unique names of the channels, in order. Repeat the option for each name."
    )
    channel_types: tuple[str, ...] | None = Field(
        None,
        description="Type of each channel, in order, such as excitatory or electrode. Repeat the option for each.",
    )
    exclude_channels: tuple[str, ...] = Field(
        (), description="Names of channels to leave out. Repeat the option for each name."
    )
    series: str | None = Field(None, description="Series, stream or well to read, if the file has several.")
    segment: int | None = Field(
        None,
        ge=0,
        description="Segment (sweep, trigger or block) to read, counted from 0. By default, each is read separately.",
    )
    stimulation_intervals_s: tuple[tuple[float, float], ...] = Field(
        (), description="Start and end of each stimulation to leave out, in s from the first sample."
    )
    condition: str | None = Field(None, description="Experimental condition, such as baseline or a drug.")
    preparation: str | None = Field(
        None,
        description="Kind of preparation, such as organoid, or brunel for the simulated Brunel network.",
    )
    conditioning: ConditioningSettings = Field(
        ConditioningSettings(),
        description="Conditioning of this recording. It overrides Dagster's config. In a sidecar, write each setting "
        "next to the other hints: `profile: lfp`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, content: Any) -> Any:
        """Group the conditioning settings, which people write next to the other hints."""
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
                    f"A stimulation lasts from {begin_s} to {end_s} s. Expected a start at 0 s or later, "
                    "before its end."
                )
        return intervals_s

    def given(self) -> dict[str, Any]:
        """Return the hints that were given, as JSON values, with the conditioning settings among them."""
        given = self.model_dump(mode="json", exclude_defaults=True, exclude={"conditioning"})
        return given | self.conditioning.model_dump(mode="json", exclude_unset=True)

    def conditioning_before(self, settings: ConditioningSettings) -> ConditioningSettings:
        """Return settings, overridden by those given here."""
        given = self.conditioning.model_dump(exclude_unset=True)
        return ConditioningSettings.model_validate({**settings.model_dump(), **given})


def validate_hints(content: Mapping[str, Any], source: str) -> Hints:
    """Validate plain values as hints. `source` names their origin in errors.

    Raises:
        RecordingError: an unknown key, or a value out of bounds.
    """
    known = [*(name for name in Hints.model_fields if name != "conditioning"), *ConditioningSettings.model_fields]
    unknown = sorted(map(str, content.keys() - set(known)))
    if unknown:
        raise RecordingError(
            f"{source}: Unknown hint {', '.join(unknown)}. Known hints: {', '.join(known)}.", code="hint-unknown"
        )
    try:
        return Hints.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])).removeprefix(_PART)}: {each['msg']}" for each in error.errors()
        )
        raise RecordingError(f"{source}: {problems}", code="hint-invalid") from None
