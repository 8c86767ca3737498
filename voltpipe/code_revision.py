"""The revision of the code, stored with every result."""

import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[0]


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=_PACKAGE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def code_revision() -> str:
    """Return the package version and, in a git checkout, its commit, with `-dirty` if files have changed since."""
    release = f"voltpipe {version('voltpipe')}"
    # An installed package may lie inside another checkout, so check that git tracks this file.
    if _git("ls-files", "--error-unmatch", __file__) is None:
        return release
    return f"{release}, git {_git('describe', '--always', '--dirty', '--abbrev=12', '--exclude=*')}"
