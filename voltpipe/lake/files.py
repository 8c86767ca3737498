"""Files that are either whole or absent, and the digests that name their content."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


def _aside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file to; rename it to `path` only if the block succeeds.

    Whatever stood at `path` stays untouched until then, and after an error no half-written file is left.
    """
    aside = _aside(path)
    try:
        yield aside
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def atomic_write_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: a former folder at `path` is exchanged for the new one once that is complete."""
    aside = _aside(path)
    aside.mkdir()
    try:
        yield aside
        if path.exists():
            former = _aside(path)
            os.replace(path, former)
            os.replace(aside, path)
            shutil.rmtree(former)
        else:
            os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all. NaN and infinity are refused."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from `path`."""
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the names and digests of all files in a folder, in hexadecimal."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    parts = sorted(part for part in path.rglob("*") if part.is_file())
    return content_digest({part.relative_to(path).as_posix(): file_digest(part) for part in parts})


def content_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-able mapping, independent of the order of its keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
