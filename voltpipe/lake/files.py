"""Atomic writes of files and folders, and digests of their content."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


def _partial_path(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` if the block succeeds.

    A file already at `path` is untouched until then. After an error, no half-written file is left.
    """
    partial = _partial_path(path)
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_write_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill, and rename it to `path` if the block succeeds.

    A folder already at `path` is untouched until then, and is replaced. After an error, no half-filled folder is left.
    """
    partial = _partial_path(path)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            replaced = _partial_path(path)
            os.replace(path, replaced)
            os.replace(partial, path)
            shutil.rmtree(replaced)
        else:
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` atomically as indented JSON.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from `path`."""
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and digests of all files in a folder, in hexadecimal."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return content_digest({file.relative_to(path).as_posix(): file_digest(file) for file in files})


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON-serializable mapping in hexadecimal. The order of its keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
