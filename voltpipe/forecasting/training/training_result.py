"""What a training ends with, in memory and beside its checkpoints."""

from dataclasses import dataclass
from pathlib import Path

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.training.checkpoint import CheckpointError, TrainingState, read_state
from voltpipe.progress import EpochRecord

FORECASTER_FOLDER = "forecaster"


@dataclass(frozen=True)
class TrainingResult:
    """A trained forecaster with the weights of its best epoch, and how it came about."""

    forecaster: Forecaster
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_because: str
    device: str
    precision: str
    elapsed_s: float
    n_parameters: int
    resumed_after_epoch: int

    def facts(self) -> dict[str, str | int | float]:
        """All that is a single value, by name, for a report or a table."""
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
    """Save the forecaster of a complete training beside its checkpoints."""
    forecaster.save(checkpoint_folder / FORECASTER_FOLDER)
    return _result(forecaster, state, resumed_after_epoch)


def read_result(checkpoint_folder: Path) -> TrainingResult:
    """The result of a complete training, from its checkpoint folder.

    Raises:
        CheckpointError: the training is not complete.
        ForecasterError: the forecaster cannot be read.
    """
    state = read_state(checkpoint_folder)
    if state.stopped_because is None:
        raise CheckpointError(
            f"the training in {checkpoint_folder} is not complete; train again to resume it",
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
        device=state.device,
        precision=state.precision,
        elapsed_s=state.elapsed_s,
        n_parameters=state.n_parameters,
        resumed_after_epoch=resumed_after_epoch,
    )
