"""What a raw file cannot say of itself: a sidecar `<recording>.yaml` beside it says it, or whoever opens it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from voltpipe.files import written_whole
from voltpipe.recordings.recording import RecordingError
from voltpipe.settings import Settings

SIDECAR_SUFFIX = ".yaml"


class Hints(Settings):
    """What is known of a recording besides its file. A hint that is given goes before what the file says."""

    unit: str | None = Field(None, description="unit of the stored numbers: V, mV, uV or nV")
    rate_hz: float | None = Field(None, gt=0, description="sampling rate in Hz")
    channel_names: tuple[str, ...] | None = Field(None, description="one name a channel, all different")
    channel_types: tuple[str, ...] | None = Field(
        None, description="what each channel records: excitatory, inhibitory, electrode, ..."
    )
    exclude_channels: tuple[str, ...] = Field((), description="names of channels to leave out")
    series: str | None = Field(None, description="which series of an NWB file, where it holds several")
    condition: str | None = Field(None, description="experimental condition, e.g. baseline or a drug")
    preparation: str | None = Field(None, description="what was recorded, e.g. organoid, brunel")

    def given(self) -> dict[str, Any]:
        """The hints that say something, JSON-able."""
        return self.model_dump(mode="json", exclude_defaults=True)


def sidecar_path(raw_path: Path) -> Path:
    """Where the hints for a raw file stand."""
    return raw_path.with_suffix(SIDECAR_SUFFIX)


def checked_hints(content: Mapping[str, Any], source: str) -> Hints:
    """Hints from plain values; `source` says in errors where they came from.

    Raises:
        RecordingError: an unknown key, or a value out of bounds.
    """
    unknown = sorted(map(str, content.keys() - Hints.model_fields.keys()))
    if unknown:
        raise RecordingError(f"{source}: unknown hint {', '.join(unknown)}; known are {', '.join(Hints.model_fields)}")
    try:
        return Hints.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise RecordingError(f"{source}: {problems}") from None


def read_hints(raw_path: Path) -> Hints:
    """The hints in the sidecar of a raw file; none if it has no sidecar.

    Raises:
        RecordingError: the sidecar is not a YAML mapping of known hints.
    """
    sidecar = sidecar_path(raw_path)
    if not sidecar.exists():
        return Hints()
    try:
        content = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordingError(f"{sidecar.name} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return Hints()
    if not isinstance(content, dict):
        raise RecordingError(f"{sidecar.name}: expected lines of the form `unit: mV`, found {type(content).__name__}")
    return checked_hints(content, sidecar.name)


def write_hints(raw_path: Path, hints: Hints) -> None:
    """Write the sidecar of a raw file, whole or not at all."""
    with written_whole(sidecar_path(raw_path)) as aside:
        aside.write_text(yaml.safe_dump(hints.given(), sort_keys=False, allow_unicode=True), encoding="utf-8")
