"""What passes by itself is waited for: a full disk, a server that is down, a training that holds its folder."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, TypeVar, cast

import dagster as dg

from voltpipe.errors import VoltpipeError

Step = TypeVar("Step", bound=Callable[..., Any])

WAIT_S = 10
"""How long a step waits before it runs again."""


def retry_transient(step: Step) -> Step:
    """A step, of an op or an asset, that Dagster runs again where waiting helps; another error of ours ends it at once.

    Not by a retry policy: that would take a termination for a failure, and begin again. The disk is given half a
    minute; MLflow, and whoever trains in the same folder, five minutes at least.
    """

    @wraps(step)
    def call(*arguments: Any, **named: Any) -> Any:
        with _patience():
            return step(*arguments, **named)

    @wraps(step)
    def generate(*arguments: Any, **named: Any) -> Iterator[Any]:
        with _patience():
            yield from step(*arguments, **named)

    return cast(Step, generate if isgeneratorfunction(step) else call)


@contextmanager
def _patience() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=WAIT_S) from error
    except Exception as error:
        if isinstance(error, _passing()):
            print(f"trying again in {WAIT_S} s: {error}", file=sys.stderr, flush=True)
            raise dg.RetryRequested(max_retries=30, seconds_to_wait=WAIT_S) from error
        if isinstance(error, VoltpipeError):
            raise dg.Failure(str(error), allow_retries=False) from error
        raise


def _passing() -> tuple[type[Exception], ...]:
    from voltpipe.lake.locks import LockHeldError
    from voltpipe.tracking.mlflow_store import mlflow_errors

    return (LockHeldError, *mlflow_errors())
