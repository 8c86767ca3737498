"""Training lowers the loss, keeps to its budget, and resumes after a kill."""

import itertools
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training import train as training_module
from voltpipe.forecasting.training.checkpoint import CheckpointError, StopReason, TrainingError
from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.forecasting.training.train import train
from voltpipe.forecasting.training.training_result import read_result
from voltpipe.windows.splits import Split

QUICK = {"max_epochs": 3, "windows_per_epoch": 48, "precision": "float32"}


class Listener:
    """Record the calls, and raise after `stop_after` epochs."""

    def __init__(self, stop_after: int = 1_000_000) -> None:
        self.stop_after = stop_after
        self.resumed_after_epoch: int | None = None
        self.epochs: list[int] = []

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        self.resumed_after_epoch = resumed_after_epoch

    def epoch_finished(self, record) -> None:
        self.epochs.append(record.epoch)
        if record.epoch == self.stop_after:
            raise InterruptedError


def run(window_set, folder: Path, listener: Listener | None = None, repeat=(), **settings):
    settings = TrainingSettings(**QUICK | settings)
    return train(window_set, settings, checkpoint_folder=folder, progress=listener or Listener(), repeat=repeat)


def weights_of(result) -> dict[str, torch.Tensor]:
    return result.forecaster.module.state_dict()


def same_weights(one, other) -> bool:
    return all(torch.equal(tensor, weights_of(other)[name]) for name, tensor in weights_of(one).items())


def error_mv(forecaster, window_set) -> float:
    batch = window_set.batch(window_set.windows(Split.TEST))
    forecast_z = forecaster.predict_z(batch.history_z, batch.mean_mv, batch.sd_mv)[:, 0]
    return float(((forecast_z - batch.target_z[:, 0]) * batch.sd_mv).square().mean().sqrt())


@pytest.fixture
def oscillations(write_window_set):
    """Channels oscillate at 50 Hz, each with its own phase. Only a history tells rising from falling."""

    def voltage_mv(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        phase = random.uniform(0, 2 * np.pi, 4)
        wave = np.sin(2 * np.pi * 50 * np.arange(400)[:, None] / 1000 + phase)
        return (-60 + 7 * wave + random.normal(0, 0.5, wave.shape)).astype(np.float32)

    splits = [Split.TRAIN] * 3 + [Split.VALIDATION, Split.TEST]
    return write_window_set([(split, voltage_mv(seed)) for seed, split in enumerate(splits)])


@pytest.mark.slow
def test_training_lowers_the_loss_and_beats_persistence(oscillations, tmp_path):
    result = run(oscillations, tmp_path, max_epochs=5, windows_per_epoch=160)
    assert result.history[-1].train_loss < 0.7 * result.history[0].train_loss
    persistence = fit_baselines(oscillations)["persistence"]
    assert error_mv(result.forecaster, oscillations) < 0.8 * error_mv(persistence, oscillations)


@pytest.mark.slow
def test_the_published_architecture_learns(oscillations, tmp_path):
    result = run(oscillations, tmp_path, architecture="cnn_lstm", batch_size=8)
    assert result.history[-1].train_loss < 0.9 * result.history[0].train_loss
    assert result.forecaster.horizons == (1,)


@pytest.mark.slow
def test_the_weights_of_the_best_epoch_are_returned(ar1_windows, tmp_path):
    result = run(ar1_windows, tmp_path, max_epochs=5, learning_rate=0.1)
    losses = [record.validation_loss for record in result.history]
    assert result.best_epoch == 1 + losses.index(min(losses))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(ar1_windows, tmp_path):
    one, same, other = (run(ar1_windows, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert same_weights(one, same)
    assert not same_weights(one, other)


def test_training_does_not_change_the_random_numbers_of_its_caller(ar1_windows, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(ar1_windows, tmp_path, max_epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_a_training_that_its_listener_stopped_resumes_to_the_same_weights(ar1_windows, tmp_path):
    uninterrupted = run(ar1_windows, tmp_path / "uninterrupted")
    with pytest.raises(InterruptedError):
        run(ar1_windows, tmp_path / "stopped", Listener(stop_after=2))
    listener = Listener()
    resumed = run(ar1_windows, tmp_path / "stopped", listener)
    assert (listener.resumed_after_epoch, listener.epochs) == (2, [3])
    assert resumed.resumed_after_epoch == 2
    assert [record.epoch for record in resumed.history] == [1, 2, 3]
    assert same_weights(resumed, uninterrupted)


KILLED = """
import os, pathlib, signal, sys
import torch
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.windows.window_set import WindowSet

class KillsItself:
    def started(self, **facts): ...
    def epoch_finished(self, record):
        if record.epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

windows, folder, settings = sys.argv[1:]
torch.set_num_threads(1)
settings = TrainingSettings.model_validate_json(settings)
train(WindowSet(pathlib.Path(windows)), settings, checkpoint_folder=pathlib.Path(folder), progress=KillsItself())
"""


@pytest.mark.slow
def test_a_training_killed_with_signal_9_resumes_to_the_same_weights(ar1_windows, tmp_path):
    # The published architecture has every state to restore: dropout, added noise, batch statistics.
    settings = {"architecture": "cnn_lstm", "windows_per_epoch": 32}
    uninterrupted = run(ar1_windows, tmp_path / "uninterrupted", **settings)
    arguments = [ar1_windows.folder, tmp_path / "killed", TrainingSettings(**QUICK | settings).model_dump_json()]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = run(ar1_windows, tmp_path / "killed", **settings)
    assert resumed.resumed_after_epoch == 2
    assert same_weights(resumed, uninterrupted)


@pytest.mark.slow
def test_a_complete_training_is_not_repeated_and_can_be_read(ar1_windows, tmp_path):
    first = run(ar1_windows, tmp_path)
    listener = Listener()
    again = run(ar1_windows, tmp_path, listener)
    assert (listener.resumed_after_epoch, listener.epochs) == (None, [])
    for result in (again, read_result(tmp_path)):
        assert same_weights(result, first)
        assert result.history == first.history
        assert result.stop_reason is StopReason.EPOCHS_DONE


def test_an_incomplete_training_has_no_result(ar1_windows, tmp_path):
    with pytest.raises(CheckpointError, check=lambda error: error.code == "checkpoint-missing"):
        read_result(tmp_path)
    with pytest.raises(InterruptedError):
        run(ar1_windows, tmp_path, Listener(stop_after=1))
    with pytest.raises(CheckpointError, check=lambda error: error.code == "training-incomplete"):
        read_result(tmp_path)


@pytest.mark.slow
def test_other_settings_do_not_continue_a_training(ar1_windows, tmp_path):
    run(ar1_windows, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"seed .*0.*4", check=lambda error: error.code == "checkpoint-of-another-training"
    ):
        run(ar1_windows, tmp_path, seed=4)


def test_training_ends_when_the_budget_has_no_room_for_another_epoch(ar1_windows, tmp_path, monkeypatch):
    # Each reading of the clock takes a second. The budget cuts the first epoch short, and no other follows.
    clock = itertools.count(0.0, 1.0)
    monkeypatch.setattr(training_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    result = run(ar1_windows, tmp_path, max_epochs=1000, budget_s=4)
    assert len(result.history) == 1
    assert result.stop_reason is StopReason.BUDGET_SPENT
    assert result.history[0].remaining_s == 0


def test_a_training_that_the_clock_ended_is_repeated_without_the_clock(ar1_windows, tmp_path, monkeypatch):
    # The machine slows down: the plan changes after each epoch, and the last epoch is cut short.
    clock = (1.2**reading for reading in itertools.count())
    monkeypatch.setattr(training_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    first = run(ar1_windows, tmp_path / "first", max_epochs=1000, budget_s=70, batch_size=16)
    monkeypatch.undo()
    assert [record.windows_seen for record in first.history] == [48, 48, 48, 32]
    assert [record.planned_epochs for record in first.history] == [1000, 53, 15, 4]
    again = run(ar1_windows, tmp_path / "again", max_epochs=1000, budget_s=70, batch_size=16, repeat=first.history)
    assert same_weights(again, first)
    assert again.stop_reason is StopReason.EPOCHS_REPEATED
    assert [record.validation_loss for record in again.history] == [record.validation_loss for record in first.history]


@pytest.mark.slow
def test_training_stops_when_the_validation_loss_no_longer_falls(ar1_windows, tmp_path):
    result = run(ar1_windows, tmp_path, max_epochs=50, learning_rate=1e-12, weight_decay=0.0, early_stopping_epochs=2)
    assert len(result.history) == result.best_epoch + 2
    assert result.stop_reason is StopReason.NO_IMPROVEMENT


def test_a_loss_that_is_not_finite_stops_before_any_weight_moves(write_window_set, ar1_mv, tmp_path):
    recordings = [(split, ar1_mv(seed)) for seed, split in enumerate([Split.TRAIN, Split.VALIDATION, Split.TEST])]
    windows = write_window_set(recordings)
    windows.samples_z[200:300] = torch.nan
    with pytest.raises(TrainingError, match="nan", check=lambda error: error.code == "training-diverged"):
        run(windows, tmp_path / "checkpoints", architecture="cnn_lstm")
    assert not list((tmp_path / "checkpoints").glob("epoch-*"))


@pytest.mark.slow
def test_training_reads_no_held_out_sample(write_window_set, ar1_mv, tmp_path):
    def trained(seed: int, name: str):
        held_out = [(split, ar1_mv(seed)) for split in (Split.TEST, Split.TIME)]
        windows = write_window_set([(Split.TRAIN, ar1_mv(0)), (Split.VALIDATION, ar1_mv(1)), *held_out], name)
        return run(windows, tmp_path / f"{name}_checkpoints")

    assert same_weights(trained(2, "one"), trained(3, "other"))


def test_training_restores_the_handling_of_denormals(ar1_windows, tmp_path):
    run(ar1_windows, tmp_path, max_epochs=1)
    assert np.float32(1e-40) * np.float32(1) > 0
