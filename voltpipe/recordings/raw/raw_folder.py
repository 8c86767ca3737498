"""The raw folder: its recordings, their files and fingerprints.

A recording is a file, or a folder of files that belong together. Each segment of a file with several segments is a
recording, `<recording>.seg0`, `<recording>.seg1`, ..., unless its sidecar selects one. Raw files are never changed.
"""

import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from voltpipe.errors import VoltpipeError
from voltpipe.lake.files import file_digest
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.lake.locks import is_locked
from voltpipe.lake.paths import Lake
from voltpipe.recordings.formats.format_registry import Format, raw_candidates, recording_name
from voltpipe.recordings.formats.series_selection import AmbiguousSegmentError
from voltpipe.recordings.raw.open_recording import RawRecording, open_recording
from voltpipe.recordings.raw.sidecar import SIDECAR_SUFFIX, sidecar_path
from voltpipe.recordings.recording import RecordingError
from voltpipe.schema import FrozenModel

_SEGMENT_KEY = re.compile(r"(?P<name>.+)\.seg(?P<segment>\d+)")


@dataclass(frozen=True)
class RawListing:
    """Contents of the raw folder."""

    found: dict[RecordingKey, Path]
    errors: dict[str, VoltpipeError]
    """Error of each file that is not used, by its path within the raw folder."""

    @property
    def refused(self) -> dict[str, str]:
        """Messages of `errors`."""
        return {path: str(error) for path, error in self.errors.items()}


class RawSummary(FrozenModel):
    """Description of a raw recording, without reading its samples."""

    path: Path
    digest: str
    format: str
    rate_hz: float
    channel_names: tuple[str, ...]
    n_samples: int
    duration_s: float
    size_bytes: int
    facts: dict[str, str | int | float]


def list_raw(lake: Lake, known: Collection[RecordingKey] = ()) -> RawListing:
    """List the raw recordings in order of their keys. Sidecars and hidden files are skipped.

    Args:
        lake: the data lake.
        known: recordings to skip. Their files are not opened to count segments.
    """
    skipped = {(key.organoid, name) for key in known for name in (key.recording, _file_and_segment(key)[0])}
    found: dict[RecordingKey, list[Path]] = {}
    errors: dict[str, VoltpipeError] = {}
    for folder in sorted(lake.raw.glob("[!.]*")):
        if not folder.is_dir():
            errors[folder.name] = RecordingError(
                "Is not in the folder of an organoid. Move it to raw/<organoid>/<recording>.",
                code="not-in-organoid-folder",
            )
            continue
        for path in _entries(folder):
            if (folder.name, recording_name(path)) in skipped:
                continue
            try:
                for key in raw_keys(lake, path):
                    found.setdefault(key, []).append(path)
            except (RecordingError, LakeError) as error:
                errors[_within(lake, path)] = error
    for key, paths in found.items():
        if len(paths) > 1:
            errors |= {_within(lake, path): _ambiguous(key, paths) for path in paths}
    return RawListing({key: paths[0] for key, paths in sorted(found.items()) if len(paths) == 1}, errors)


def raw_keys(lake: Lake, path: Path) -> tuple[RecordingKey, ...]:
    """List the recordings in a raw file or folder.

    Raises:
        RecordingError: the file must not be used.
        LakeError: its name cannot be used.
    """
    formats = _check_usable(lake, path)
    name = recording_name(path)
    n_segments = _n_segments(path, raw_fingerprint(path)) if any(each.has_segments for each in formats) else None
    names = [name] if n_segments is None else [f"{name}.seg{segment}" for segment in range(n_segments)]
    return tuple(RecordingKey(path.parent.name, each) for each in names)


def raw_path(lake: Lake, key: RecordingKey) -> Path:
    """Return the raw file or folder of a recording.

    Raises:
        LakeError: there is none.
        RecordingError: there are several, or it must not be used.
    """
    names = {key.recording, _file_and_segment(key)[0]}
    paths = [path for path in _entries(lake.raw / key.organoid) if recording_name(path) in names]
    usable = [path for path in paths if _is_known(path)] or paths
    if not usable:
        raise LakeError(
            f"There is no raw recording {key}. Expected raw/{key.organoid}/{key.recording}.<extension>.",
            code="raw-recording-missing",
        )
    if len(usable) > 1:
        raise _ambiguous(key, usable)
    _check_usable(lake, usable[0])
    return usable[0]


def open_raw(lake: Lake, key: RecordingKey) -> RawRecording:
    """Open a recording of the raw folder.

    Raises:
        LakeError: there is no such recording.
        RecordingError: it cannot be opened.
    """
    path = raw_path(lake, key)
    if recording_name(path) == key.recording:
        return open_recording(path)
    return open_recording(path, segment=_file_and_segment(key)[1])


def summarize_raw(lake: Lake, key: RecordingKey) -> RawSummary:
    """Open a raw recording and describe it.

    Raises:
        LakeError: there is no such recording.
        RecordingError: it cannot be opened.
    """
    path = raw_path(lake, key)
    recording = open_raw(lake, key)
    return RawSummary(
        path=path,
        digest=raw_digest(path),
        format=str(recording.facts["format"]),
        rate_hz=recording.rate_hz,
        channel_names=recording.channel_names,
        n_samples=recording.n_samples,
        duration_s=recording.n_samples / recording.rate_hz,
        size_bytes=sum(part.stat().st_size for part in raw_files(path)),
        facts=dict(recording.facts),
    )


def raw_files(path: Path) -> list[Path]:
    """Return the file itself, or all files of a folder."""
    return [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())


def raw_fingerprint(path: Path) -> str:
    """Return a fingerprint of a raw file or folder and its sidecar: `<modified, s>:<bytes>:<changed, s>`.

    It includes the change time, because copying tools restore the modification time.
    """
    stats = [path.stat()]
    if stat.S_ISDIR(stats[0].st_mode):
        stats += [part.stat() for part in path.rglob("*")]
    with suppress(FileNotFoundError):
        stats.append(sidecar_path(path).stat())
    modified_s, changed_s = max(each.st_mtime for each in stats), max(each.st_ctime for each in stats)
    return f"{modified_s:.6f}:{sum(each.st_size for each in stats)}:{changed_s:.6f}"


def raw_digest(path: Path) -> str:
    """Return the SHA-256 of a raw file or folder. It is cached until the fingerprint changes."""
    return _digest(path, raw_fingerprint(path))


@lru_cache(maxsize=10_000)
def _digest(path: Path, state: str) -> str:
    return file_digest(path)


def is_being_written(path: Path) -> bool:
    """Return whether a program locks a file for writing, as HDF5 does (MaxWell, NWB, CL1)."""
    return any(is_locked(part) for part in raw_files(path))


def _entries(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("[!.]*")) if path.suffix != SIDECAR_SUFFIX)


def _check_usable(lake: Lake, path: Path) -> tuple[Format, ...]:
    formats = raw_candidates(path)
    parts = (path.parent, path, sidecar_path(path), *(path.rglob("*") if formats[0].needs_folder else ()))
    # Check for links first: thousands of files are checked at every pass, and hardly any is a link.
    if any(part.is_symlink() and not part.resolve().is_relative_to(lake.raw.resolve()) for part in parts):
        raise RecordingError(
            "The file, its sidecar or a part of it is a link out of the lake. Copy the file itself.",
            code="link-out-of-lake",
        )
    if formats[0].needs_folder and path.is_file():
        raise RecordingError(
            f"Is one of several files of a {formats[0].name} recording. Put them into a folder of their own, as "
            "`voltpipe ingest` does.",
            code="folder-required",
        )
    return formats


@lru_cache(maxsize=10_000)
def _n_segments(path: Path, state: str) -> int | None:
    """Count the segments of a file; None if it has one or cannot be opened. `state` is part of the cache key."""
    try:
        open_recording(path)
    except AmbiguousSegmentError as error:
        return error.n_segments
    except RecordingError:
        return None
    return None


def _file_and_segment(key: RecordingKey) -> tuple[str, int | None]:
    match = _SEGMENT_KEY.fullmatch(key.recording)
    return (match["name"], int(match["segment"])) if match else (key.recording, None)


def _is_known(path: Path) -> bool:
    try:
        raw_candidates(path)
    except RecordingError:
        return False
    return True


def _ambiguous(key: RecordingKey, paths: list[Path]) -> RecordingError:
    return RecordingError(
        f"{key} is claimed by {' and '.join(path.name for path in paths)}. Rename or remove all but one.",
        code="raw-recording-ambiguous",
    )


def _within(lake: Lake, path: Path) -> str:
    return path.relative_to(lake.raw).as_posix()
