"""The raw folder: which recordings lie there, what they are, and how new ones come in.

Raw files are never changed.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from voltpipe.files import file_digest, written_whole
from voltpipe.lake import Lake, LakeError, RecordingKey
from voltpipe.recordings.formats.registry import format_of
from voltpipe.recordings.hints import SIDECAR_SUFFIX, Hints, read_hints, sidecar_path, write_hints
from voltpipe.recordings.open_recording import open_recording
from voltpipe.recordings.recording import RecordingError
from voltpipe.settings import Settings


@dataclass(frozen=True)
class RawListing:
    """What lies in the raw folder."""

    found: dict[RecordingKey, Path]
    refused: dict[str, str]
    """Why a file is not used, by its path within the raw folder."""


class RawFacts(Settings):
    """What can be said of a raw recording without reading its samples."""

    path: Path
    digest: str
    format: str
    rate_hz: float
    channel_names: tuple[str, ...]
    n_samples: int
    duration_s: float
    size_bytes: int
    facts: dict[str, str | int | float]


def find_raw(lake: Lake) -> RawListing:
    """List the raw recordings, in order of their keys. Sidecars and hidden files are passed over."""
    found: dict[RecordingKey, list[Path]] = {}
    refused: dict[str, str] = {}
    for path in sorted(lake.raw.glob("*")):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            refused[path.name] = "lies in no organoid's folder; expected raw/<organoid>/<recording>"
            continue
        for file in sorted(path.glob("[!.]*")):
            if file.suffix == SIDECAR_SUFFIX:
                continue
            try:
                found.setdefault(_key_of(lake, file), []).append(file)
            except (RecordingError, LakeError) as error:
                refused[_within(lake, file)] = str(error)
    for key, files in found.items():
        if len(files) > 1:
            refused |= {_within(lake, file): _ambiguous(key, files) for file in files}
    return RawListing({key: files[0] for key, files in sorted(found.items()) if len(files) == 1}, refused)


def raw_path(lake: Lake, key: RecordingKey) -> Path:
    """The raw file of a recording.

    Raises:
        LakeError: there is none.
        RecordingError: there is more than one, or it must not be used.
    """
    files = [
        file
        for file in sorted((lake.raw / key.organoid).glob("[!.]*"))
        if file.stem == key.recording and file.suffix != SIDECAR_SUFFIX
    ]
    usable = [file for file in files if _is_known(file)] or files
    if not usable:
        raise LakeError(f"there is no raw recording {key}; expected raw/{key.organoid}/{key.recording}.<extension>")
    if len(usable) > 1:
        raise RecordingError(_ambiguous(key, usable))
    _key_of(lake, usable[0])
    return usable[0]


def inspect_raw(lake: Lake, key: RecordingKey) -> RawFacts:
    """Open a raw recording and say what it is.

    Raises:
        LakeError: there is no such recording.
        RecordingError: it cannot be opened.
    """
    path = raw_path(lake, key)
    recording = open_recording(path)
    return RawFacts(
        path=path,
        digest=file_digest(path),
        format=format_of(path).name,
        rate_hz=recording.rate_hz,
        channel_names=recording.channel_names,
        n_samples=recording.n_samples,
        duration_s=recording.n_samples / recording.rate_hz,
        size_bytes=path.stat().st_size,
        facts=dict(recording.facts),
    )


def ingest(lake: Lake, file: Path, organoid: str, hints: Hints) -> RecordingKey:
    """Copy a file into the raw folder, whole, and write its hints beside it.

    Hints are those of the file's own sidecar, and `hints` before them. A file that is there already stays as it is;
    its hints are replaced where new ones are given.

    Raises:
        RecordingError: no file, no known format, or another content under the same name.
        LakeError: a name that cannot be used.
    """
    if not file.is_file():
        raise RecordingError(f"{file} is not a file")
    format_of(file)
    key = RecordingKey(organoid, file.stem)
    target = lake.raw / organoid / file.name
    others = [other for other in target.parent.glob("[!.]*") if other.stem == file.stem and _is_known(other)]
    if target in others and file_digest(target) != file_digest(file):
        raise RecordingError(f"{key} is there with other content; raw files are never changed, rename the new one")
    if others and target not in others:
        raise RecordingError(f"{key} is there as {others[0].name}; rename the new file")
    all_hints = read_hints(file).model_copy(update=hints.model_dump(exclude_unset=True))
    # Hints first: whoever watches the folder must not see the recording without them.
    if all_hints.given():
        write_hints(target, all_hints)
    if target not in others:
        with written_whole(target) as aside:
            shutil.copyfile(file, aside)
    return key


def _key_of(lake: Lake, file: Path) -> RecordingKey:
    format_of(file)
    if not all(part.resolve().is_relative_to(lake.raw.resolve()) for part in (file, sidecar_path(file))):
        raise RecordingError("is a link out of the lake, or its sidecar is; copy the file itself")
    if not file.is_file():
        raise RecordingError("is no plain file")
    return RecordingKey(file.parent.name, file.stem)


def _is_known(file: Path) -> bool:
    try:
        format_of(file)
    except RecordingError:
        return False
    return True


def _ambiguous(key: RecordingKey, files: list[Path]) -> str:
    return f"{key} is claimed by {' and '.join(file.name for file in files)}; rename or remove all but one"


def _within(lake: Lake, file: Path) -> str:
    return file.relative_to(lake.raw).as_posix()
