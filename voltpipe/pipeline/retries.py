"""Retries of steps on transient failures: a full disk, an MLflow server that is down, a locked checkpoint folder."""

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
"""Delay before a step is retried, in s."""


def retry_transient(step: Step) -> Step:
    """Let Dagster retry an op's or asset's step on transient failures; other errors of voltpipe fail it at once.

    A full disk is retried for half a minute, MLflow and a locked checkpoint folder for at least five minutes. A retry
    policy of Dagster would not do: it takes a termination for a failure and starts the step again.
    """

    @wraps(step)
    def call(*arguments: Any, **named: Any) -> Any:
        with _request_retry():
            return step(*arguments, **named)

    @wraps(step)
    def generate(*arguments: Any, **named: Any) -> Iterator[Any]:
        with _request_retry():
            yield from step(*arguments, **named)

    return cast(Step, generate if isgeneratorfunction(step) else call)


@contextmanager
def _request_retry() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=WAIT_S) from error
    except Exception as error:
        if isinstance(error, _transient_errors()):
            print(f"Retrying in {WAIT_S} s: {error}", file=sys.stderr, flush=True)
            raise dg.RetryRequested(max_retries=30, seconds_to_wait=WAIT_S) from error
        if isinstance(error, VoltpipeError):
            raise dg.Failure(str(error), allow_retries=False) from error
        raise


def _transient_errors() -> tuple[type[Exception], ...]:
    from voltpipe.lake.locks import LockHeldError
    from voltpipe.tracking.mlflow_store import mlflow_errors

    return (LockHeldError, *mlflow_errors())
