"""Listeners that show the progress of trainings and evaluations in the terminal, in Dagster and in MLflow.

The Dagster listeners also stop a process whose run has already ended.
"""

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
    """Listener that prints one line per epoch to standard error, which Dagster also keeps as the run's log."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Print the number of parameters and the device."""
        resumed = f", resumed after epoch {resumed_after_epoch}" if resumed_after_epoch else ""
        print(f"training {parameters:,} parameters on {device}{resumed}", file=sys.stderr, flush=True)

    def epoch_finished(self, record: EpochRecord) -> None:
        """Print the epoch's summary."""
        print(epoch_summary(record), file=sys.stderr, flush=True)


@dataclass(frozen=True)
class DagsterProgress:
    """Listener that reports each epoch as an observation of the asset and in the run's progress tag."""

    context: dg.OpExecutionContext
    asset_key: dg.AssetKey
    mlflow_page: str
    """Page with the learning curve."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Reset the progress tag, which a retry copies from its parent run."""
        del device, parameters
        self._tag(f"resumed after epoch {resumed_after_epoch}" if resumed_after_epoch else "first epoch")

    def epoch_finished(self, record: EpochRecord) -> None:
        """Report the epoch.

        Raises:
            dg.Failure: the run has already ended. Its retry must be the only writer of the checkpoints.
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
    """Listener that reports each step in the run's progress tag, and each finished stage as an observation."""

    context: dg.OpExecutionContext
    asset_key: dg.AssetKey

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Report the step.

        Raises:
            dg.Failure: the run has already ended.
        """
        stop_if_run_ended(self.context)
        self.context.instance.add_run_tags(self.context.run_id, {PROGRESS_TAG: f"{doing}: {done} of {total}"})
        if done == total:
            self.context.log_event(dg.AssetObservation(self.asset_key, metadata={"done": f"{doing}: {total}"}))


@dataclass(frozen=True)
class MlflowProgress:
    """Listener that logs the learning curve. If the server is down, training continues and the curve is added later."""

    run: TrackedRun

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Tag the MLflow run with the device and the number of parameters."""
        del resumed_after_epoch
        with _tolerate_mlflow_errors():
            self.run.set_tags({"device": device, "parameters": str(parameters)})

    def epoch_finished(self, record: EpochRecord) -> None:
        """Log the epoch's metrics."""
        with _tolerate_mlflow_errors():
            self.run.log_epoch(record)


@dataclass(frozen=True)
class CombinedProgress:
    """Listener that passes everything on to several listeners, in order."""

    listeners: tuple[TrainingProgress, ...]

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Notify each listener of the start."""
        for listener in self.listeners:
            listener.started(resumed_after_epoch=resumed_after_epoch, device=device, parameters=parameters)

    def epoch_finished(self, record: EpochRecord) -> None:
        """Notify each listener of the epoch."""
        for listener in self.listeners:
            listener.epoch_finished(record)


@contextmanager
def _tolerate_mlflow_errors() -> Iterator[None]:
    try:
        yield
    except mlflow_errors() as error:
        print(f"MLflow did not accept an update: {error}", file=sys.stderr, flush=True)


def stop_if_run_ended(context: dg.OpExecutionContext) -> None:
    """Stop this process if its run has already ended, so that a retry is the only writer of the checkpoints.

    Raises:
        dg.Failure: the run has ended or was deleted.
    """
    run = context.instance.get_run_by_id(context.run_id)
    if run is None or run.is_finished:
        raise dg.Failure(
            f"Run {context.run_id} has ended, so this process stops. The last checkpoint is kept for a retry.",
            allow_retries=False,
        )


def epoch_summary(record: EpochRecord) -> str:
    """Summarize an epoch in one line."""
    r2 = "  ".join(f"{r2:.3f} at {horizon}" for horizon, r2 in record.validation_r2.items())
    return (
        f"epoch {record.epoch:3d}  {record.elapsed_s:5.0f} s  train loss {record.train_loss:.4f}  "
        f"validation loss {record.validation_loss:.4f}  R2 {r2} samples ahead  {record.windows_per_s:.0f} windows/s  "
        f"{record.remaining_s:.0f} s left"
    )
