"""The sidecar `<recording>.yaml` next to a raw file or folder, with its hints."""

from pathlib import Path

import yaml

from voltpipe.lake.files import atomic_write
from voltpipe.recordings.formats.format_registry import recording_name
from voltpipe.recordings.hints import Hints, validate_hints
from voltpipe.recordings.recording import RecordingError

SIDECAR_SUFFIX = ".yaml"


def sidecar_path(raw_path: Path) -> Path:
    """Return the path of the sidecar of a raw file or folder."""
    return raw_path.with_name(recording_name(raw_path) + SIDECAR_SUFFIX)


def read_hints(raw_path: Path) -> Hints:
    """Read the hints in the sidecar of a raw file; none if it has no sidecar.

    Raises:
        RecordingError: the sidecar is not a YAML mapping of known hints.
    """
    sidecar = sidecar_path(raw_path)
    if not sidecar.exists():
        return Hints()
    try:
        content = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordingError(
            f"{sidecar.name} is not YAML: {' '.join(str(error).split())}", code="sidecar-not-yaml"
        ) from None
    if content is None:
        return Hints()
    if not isinstance(content, dict):
        raise RecordingError(
            f"{sidecar.name} holds a {type(content).__name__}. Expected lines such as `unit: mV`.",
            code="sidecar-not-a-mapping",
        )
    return validate_hints(content, sidecar.name)


def write_hints(raw_path: Path, hints: Hints) -> None:
    """Write the sidecar of a raw file atomically."""
    with atomic_write(sidecar_path(raw_path)) as aside:
        aside.write_text(yaml.safe_dump(hints.given(), sort_keys=False, allow_unicode=True), encoding="utf-8")
