"""Ingestion: atomic copies of recordings into the raw folder, with their hints as sidecars."""

import glob
import os
import shutil
from pathlib import Path

from voltpipe.lake.files import atomic_write, atomic_write_folder, content_digest, file_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.formats.format_registry import raw_candidates, recording_name
from voltpipe.recordings.hints import Hints, validate_hints
from voltpipe.recordings.raw.raw_folder import is_being_written, raw_files, raw_keys
from voltpipe.recordings.raw.sidecar import SIDECAR_SUFFIX, read_hints, write_hints
from voltpipe.recordings.recording import RecordingError


def ingest(lake: Lake, path: Path, organoid: str, hints: Hints, name: str | None = None) -> tuple[RecordingKey, ...]:
    """Copy a file or folder atomically into the raw folder, and write its sidecar.

    If a recording consists of several files (BrainVision, Blackrock), any one of them can be given. They get a folder.
    Hints come from the sidecar next to `path`, overridden by `hints`. A recording that is already there stays. Its
    hints are replaced if new ones are given.

    Args:
        lake: the data lake.
        path: any file or folder.
        organoid: organoid that was recorded.
        hints: metadata that the file lacks.
        name: name of the recording in the lake; None for the file name.

    Returns:
        Keys of the recordings in the file.

    Raises:
        RecordingError: the file is missing, of an unknown format or still being written, or the name is taken.
        LakeError: the name cannot be used.
    """
    if not path.exists():
        raise RecordingError(f"{path} does not exist. Check the path.", code="file-missing")
    source_files = _source_files(path)
    key = RecordingKey(organoid, name or recording_name(path))
    extension = "" if path.is_file() and source_files else path.name.removeprefix(recording_name(path))
    target = lake.raw / organoid / f"{key.recording}{extension}"
    others = [other for other in target.parent.glob("[!.]*") if _claims(other, key.recording)]
    if is_being_written(path):
        raise RecordingError(
            f"{path.name} is still being written. Stop the recording, then ingest it.", code="file-being-written"
        )
    if target in others and file_digest(target) != _digest(path, source_files):
        raise RecordingError(
            f"{key} exists with other content. Raw files are never changed. Give the new file another name (--name).",
            code="raw-content-differs",
        )
    if others and target not in others:
        raise RecordingError(
            f"{key} exists as {others[0].name}. Give the new file another name (--name).", code="raw-name-taken"
        )
    all_hints = validate_hints({**read_hints(path).given(), **hints.given()}, "hints")
    # Hints first: the sensor that watches the folder must not find the recording without them.
    if all_hints.given():
        write_hints(target, all_hints)
    if target not in others:
        _copy(path, source_files, target)
    return raw_keys(lake, target)


def _source_files(path: Path) -> dict[str, Path]:
    """List the files of a recording's folder by their names there; none for a recording in one file."""
    (*_, file_format) = raw_candidates(path)
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file for file in raw_files(path)}
    if not file_format.needs_folder:
        return {}
    siblings = path.parent.glob(f"{glob.escape(path.stem)}.*")
    return {file.name: file for file in sorted(siblings) if file.is_file() and file.suffix != SIDECAR_SUFFIX}


def _claims(other: Path, name: str) -> bool:
    try:
        return recording_name(other) == name and bool(raw_candidates(other))
    except RecordingError:
        return False


def _digest(path: Path, source_files: dict[str, Path]) -> str:
    if not source_files:
        return file_digest(path)
    return content_digest({name: file_digest(file) for name, file in source_files.items()})


def _copy(path: Path, source_files: dict[str, Path], target: Path) -> None:
    if not source_files:
        with atomic_write(target) as aside:
            _copy_dated(path, aside)
        return
    with atomic_write_folder(target) as folder:
        for name, file in source_files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _copy_dated(file, folder / name)


def _copy_dated(source: Path, target: Path) -> None:
    """Copy with the modification time, which dates recordings whose files state no start time."""
    shutil.copyfile(source, target)
    changed = source.stat()
    os.utime(target, ns=(changed.st_atime_ns, changed.st_mtime_ns))
