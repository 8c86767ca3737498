"""Code versions of assets, derived from the source code that their values depend on.

Any change of a covered file changes the version, so no number has to be raised by hand. Dagster then marks the asset as
made by other code.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^\s*(?:from (voltpipe[\w.]*) import (\([^)]*\)|[^\n]*)|import (voltpipe[\w.]*))", re.MULTILINE)
_BY_NAME, _TEMPLATE = "import_module(", ".html"
"""Marks in a source. An import by name may reach any module of the file's folder, a template any template there."""
_WIRING = "voltpipe.pipeline"


def code_version(module: str, root: Path = _ROOT) -> str:
    """Return a digest of a module of assets and of all voltpipe code that it reaches.

    Imports are followed through all files, including imports inside functions. Other modules of `voltpipe.pipeline` are
    left out: they decide how values are shown and when they are computed, not what they are.

    Args:
        module: `__name__` of the module that defines the assets.
        root: the folder that holds the package.
    """
    digest = hashlib.sha256()
    for path in covered_files(module, root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def covered_files(module: str, root: Path = _ROOT) -> list[Path]:
    """List the files that a module's code version covers, sorted."""
    found: set[Path] = set()
    waiting = [path] if (path := _file_of(module, root)) else []
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, root)
    return sorted(found)


@cache
def _imported(path: Path, root: Path) -> tuple[Path, ...]:
    source = path.read_text(encoding="utf-8")
    files = [_file_of(name, root) for name in _names(source) if not name.startswith(_WIRING)]
    if path.parent != root / "voltpipe":
        files += path.parent.glob("*.py") if _BY_NAME in source else ()
        files += path.parent.rglob("*.html") if _TEMPLATE in source else ()
    return tuple(file for file in files if file)


def _names(source: str) -> Iterator[str]:
    """Name every module that a source may import; `from a import b` may mean the module `a.b`."""
    for package, members, plain in _IMPORT.findall(source):
        yield package or plain
        for member in re.findall(r"\w+", members.split("#")[0]) if package else ():
            yield f"{package}.{member}"


def _file_of(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
