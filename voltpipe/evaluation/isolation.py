"""Optional parts of an evaluation, run apart: a part that fails leaves a reason and stops nothing else."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from voltpipe.errors import VoltpipeError
from voltpipe.evaluation.results import EvaluationError
from voltpipe.lake.files import read_json, write_json

Made = TypeVar("Made")
_FORMAT_VERSION = 1
_OWN_FOLDER = "voltpipe"


@dataclass(frozen=True)
class Failure:
    """Failure of one part of the evaluation, with its reason."""

    error: Exception

    @property
    def code(self) -> str:
        """The stable name of the cause; `unexpected` for an error that is not one of voltpipe's own."""
        return self.error.code if isinstance(self.error, VoltpipeError) else "unexpected"

    @property
    def reason(self) -> str:
        """The cause in words; for an unexpected error with its type and the line of code."""
        if isinstance(self.error, VoltpipeError):
            return str(self.error)
        frames = traceback.extract_tb(self.error.__traceback__)
        own = [frame for frame in frames if _OWN_FOLDER in Path(frame.filename).parts] or frames
        where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
        return f"{type(self.error).__name__}: {self.error}{where}"


def attempt(part: Callable[[], Made]) -> Made | Failure:
    """Return what a part makes, or its failure."""
    try:
        return part()
    except Exception as error:  # whatever it is, it must not stop the other parts
        return Failure(error)


def attempt_each(parts: Mapping[str, Callable[[], Made]]) -> tuple[dict[str, Made], dict[str, str]]:
    """Run parts apart from each other; returns what was made, and the reasons of those that failed, by name."""
    attempts = {name: attempt(part) for name, part in parts.items()}
    made = {name: each for name, each in attempts.items() if not isinstance(each, Failure)}
    return made, {name: each.reason for name, each in attempts.items() if isinstance(each, Failure)}


def required(made: Made | Failure) -> Made:
    """Return what another part made; raise that part's error if it failed."""
    if isinstance(made, Failure):
        raise made.error
    return made


def write_failures(path: Path, failed: Mapping[str, str]) -> None:
    """Write the reasons of failed parts, by the part's name, as an atomic write."""
    write_json(path, {"format_version": _FORMAT_VERSION, "failed": dict(failed)})


def read_failures(path: Path) -> dict[str, str]:
    """Read the reasons by the part's name; none if there is no such file, as in evaluations of version 0.1.

    Raises:
        EvaluationError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        return dict(read_json(path)["failed"])
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path} does not list failed parts: {error}. Evaluate the forecaster again.", code="failures-unreadable"
        ) from error
