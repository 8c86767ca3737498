"""Which code made a figure."""

import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[0]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_PACKAGE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def code_revision() -> str:
    """The package's version and, when it runs from a git checkout, its commit; `-dirty` if it was changed since."""
    release = f"voltpipe {version('voltpipe')}"
    # An installed package may lie inside somebody else's checkout: ask whether git knows this very file.
    if _git("ls-files", "--error-unmatch", __file__) is None:
        return release
    return f"{release}, git {_git('describe', '--always', '--dirty', '--abbrev=12', '--exclude=*')}"
