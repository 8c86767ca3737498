"""Listeners to trainings and evaluations: terminal, Dagster run, MLflow run; and the fence that stops an orphan."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from voltpipe.progress import EpochRecord, TrainingProgress
from voltpipe.tracking.mlflow_store import mlflow_errors
from voltpipe.tracking.tracked_run import TrackedRun

PROGRESS_TAG = "voltpipe/progress"


@dataclass(frozen=True)
class TerminalProgress:
    """One line an epoch on standard error, which Dagster keeps as the run's log as well."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Say what is trained where."""
        resumed = f", resumed after epoch {resumed_after_epoch}" if resumed_after_epoch else ""
        print(f"training {parameters:,} parameters on {device}{resumed}", file=sys.stderr, flush=True)

    def epoch_finished(self, record: EpochRecord) -> None:
        """Say how the epoch went."""
        print(summary(record), file=sys.stderr, flush=True)


@dataclass(frozen=True)
class DagsterProgress:
    """An observation of the asset each epoch, and the run's tag; stops a training whose run has already ended."""

    context: dg.OpExecutionContext
    asset_key: dg.AssetKey
    mlflow_page: str
    """Where the learning curve can be followed."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Reset the tag, which a retried run copies from its parent."""
        del device, parameters
        self._tag(f"resumed after epoch {resumed_after_epoch}" if resumed_after_epoch else "first epoch")

    def epoch_finished(self, record: EpochRecord) -> None:
        """Show the epoch.

        Raises:
            dg.Failure: the run ended while this process went on; whoever retries it must be the only writer.
        """
        stop_if_run_ended(self.context)
        r2 = sum(record.validation_r2.values()) / len(record.validation_r2)
        self._tag(
            f"epoch {record.epoch}, {record.remaining_s:.0f} s left, {record.windows_per_s:.0f} windows/s, "
            f"validation R2 {r2:.3f}"
        )
        self.context.log_event(
            dg.AssetObservation(
                self.asset_key,
                metadata={
                    "epoch": record.epoch,
                    "train_loss": record.train_loss,
                    "validation_loss": record.validation_loss,
                    **{f"validation_r2_h{horizon}": r2 for horizon, r2 in record.validation_r2.items()},
                    "windows_per_s": record.windows_per_s,
                    "elapsed_s": record.elapsed_s,
                    "remaining_s": record.remaining_s,
                    "MLflow run": dg.MetadataValue.url(self.mlflow_page),
                },
            )
        )

    def _tag(self, progress: str) -> None:
        self.context.instance.add_run_tags(self.context.run_id, {PROGRESS_TAG: progress})


@dataclass(frozen=True)
class DagsterEvaluationProgress:
    """The run's tag at each step, an observation of the asset where all steps of a kind are done."""

    context: dg.OpExecutionContext
    asset_key: dg.AssetKey

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Show the step.

        Raises:
            dg.Failure: the run ended while this process went on.
        """
        stop_if_run_ended(self.context)
        self.context.instance.add_run_tags(self.context.run_id, {PROGRESS_TAG: f"{doing}: {done} of {total}"})
        if done == total:
            self.context.log_event(dg.AssetObservation(self.asset_key, metadata={"done": f"{doing}: {total}"}))


@dataclass(frozen=True)
class MlflowProgress:
    """The learning curve in the MLflow run. A server that is down stops no training: the curve is completed later."""

    run: TrackedRun

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Say what is trained where."""
        del resumed_after_epoch
        with _forgiven():
            self.run.set_tags({"device": device, "parameters": str(parameters)})

    def epoch_finished(self, record: EpochRecord) -> None:
        """Log the epoch's figures."""
        with _forgiven():
            self.run.log_epoch(record)


@dataclass(frozen=True)
class CombinedProgress:
    """Tells several listeners, in order."""

    listeners: tuple[TrainingProgress, ...]

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Tell each."""
        for listener in self.listeners:
            listener.started(resumed_after_epoch=resumed_after_epoch, device=device, parameters=parameters)

    def epoch_finished(self, record: EpochRecord) -> None:
        """Tell each."""
        for listener in self.listeners:
            listener.epoch_finished(record)


@contextmanager
def _forgiven() -> Iterator[None]:
    try:
        yield
    except mlflow_errors() as error:
        print(f"MLflow did not take this: {error}", file=sys.stderr, flush=True)


def stop_if_run_ended(context: dg.OpExecutionContext) -> None:
    """Stop what works for a run that is over.

    Raises:
        dg.Failure: the run ended while this process went on; whoever retries it must be the only writer.
    """
    run = context.instance.get_run_by_id(context.run_id)
    if run is None or run.is_finished:
        raise dg.Failure(
            f"Run {context.run_id} has ended, so this process stops. The last checkpoint is kept for the retry.",
            allow_retries=False,
        )


def summary(record: EpochRecord) -> str:
    """One line on an epoch."""
    r2 = "  ".join(f"{r2:.3f} at {horizon}" for horizon, r2 in record.validation_r2.items())
    return (
        f"epoch {record.epoch:3d}  {record.elapsed_s:5.0f} s  train loss {record.train_loss:.4f}  "
        f"validation loss {record.validation_loss:.4f}  R2 {r2} samples ahead  {record.windows_per_s:.0f} windows/s  "
        f"{record.remaining_s:.0f} s left"
    )
