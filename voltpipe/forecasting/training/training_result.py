"""The result of a training, in memory and in its checkpoint folder."""

from dataclasses import dataclass
from pathlib import Path

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.training.checkpoint import CheckpointError, StopReason, TrainingState, read_state
from voltpipe.progress import EpochRecord

FORECASTER_FOLDER = "forecaster"


@dataclass(frozen=True)
class TrainingResult:
    """A trained forecaster with the weights of its best epoch, and the course of its training."""

    forecaster: Forecaster
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_because: str
    """Sentence on why the training ended."""
    stop_reason: StopReason | None
    """Code of that reason; None if voltpipe 0.1 trained it."""
    device: str
    precision: str
    elapsed_s: float
    n_parameters: int
    resumed_after_epoch: int

    def facts(self) -> dict[str, str | int | float]:
        """Return all single values by name, for reports and metadata."""
        return {
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "stopped_because": self.stopped_because,
            "device": self.device,
            "precision": self.precision,
            "elapsed_s": self.elapsed_s,
            "n_parameters": self.n_parameters,
            "resumed_after_epoch": self.resumed_after_epoch,
        }


def write_result(
    checkpoint_folder: Path, forecaster: Forecaster, state: TrainingState, resumed_after_epoch: int
) -> TrainingResult:
    """Save the forecaster of a complete training in its checkpoint folder."""
    forecaster.save(checkpoint_folder / FORECASTER_FOLDER)
    return _result(forecaster, state, resumed_after_epoch)


def read_result(checkpoint_folder: Path) -> TrainingResult:
    """Read the result of a complete training from its checkpoint folder.

    Raises:
        CheckpointError: the training is not complete.
        ForecasterError: the forecaster cannot be read.
    """
    state = read_state(checkpoint_folder)
    if state.stopped_because is None:
        raise CheckpointError(
            f"The training in {checkpoint_folder} is not complete. Run it again to resume it.",
            code="training-incomplete",
        )
    return _result(Forecaster.load(checkpoint_folder / FORECASTER_FOLDER), state, state.epoch)


def _result(forecaster: Forecaster, state: TrainingState, resumed_after_epoch: int) -> TrainingResult:
    assert state.stopped_because
    return TrainingResult(
        forecaster=forecaster,
        history=state.history,
        best_epoch=state.best_epoch,
        stopped_because=state.stopped_because,
        stop_reason=state.stop_reason,
        device=state.device,
        precision=state.precision,
        elapsed_s=state.elapsed_s,
        n_parameters=state.n_parameters,
        resumed_after_epoch=resumed_after_epoch,
    )
