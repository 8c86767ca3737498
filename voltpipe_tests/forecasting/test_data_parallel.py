"""Several processes train to the weights that one does, and none of them outlives the training."""

import os
import signal
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from voltpipe.forecasting.data_parallel import helper_processes
from voltpipe.forecasting.device import Compute, DeviceError
from voltpipe.forecasting.epoch import TrainingError
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import Device, Precision, TrainingSettings
from voltpipe.forecasting.training import train

QUICK = {"max_epochs": 2, "windows_per_epoch": 48, "batch_size": 5, "precision": "float32", "device": "cpu"}


class Listener:
    """Notes which processes there are, and kills one of them after the first epoch if asked to."""

    def __init__(self, *, kill: bool = False) -> None:
        self.kill = kill
        self.helpers: set[int] = set()

    def started(self, **facts) -> None: ...

    def epoch_finished(self, record) -> None:
        helpers = [child.pid for child in active_children()]
        self.helpers |= set(helpers)
        if self.kill:
            os.kill(helpers[0], signal.SIGKILL)


def run(window_set, folder: Path, listener: Listener, **settings):
    return train(window_set, TrainingSettings(**QUICK | settings), checkpoint_folder=folder, progress=listener)


@pytest.mark.parametrize("architecture", ["shared_cnn_lstm", "coupled_cnn_lstm"])
def test_two_processes_train_to_the_weights_of_one(architecture, planted_windows, ar1_windows, tmp_path):
    window_set = ar1_windows if architecture == "shared_cnn_lstm" else planted_windows
    one = run(window_set, tmp_path / "one", Listener(), architecture=architecture)
    listener = Listener()
    two = run(window_set, tmp_path / "two", listener, architecture=architecture, processes=2)
    assert len(listener.helpers) == 1
    assert not active_children()
    # Which windows are treated as of an unknown network is drawn by each process for itself.
    atol = 1e-4 if architecture == "shared_cnn_lstm" else 0.05
    for name, tensor in one.forecaster.module.state_dict().items():
        torch.testing.assert_close(two.forecaster.module.state_dict()[name], tensor, rtol=0, atol=atol)
    losses = [[record.train_loss for record in result.history] for result in (one, two)]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=0.02, atol=0)


def test_a_helper_that_is_killed_ends_the_training_with_a_clear_error_and_it_goes_on(ar1_windows, tmp_path):
    settings = {"architecture": "shared_cnn_lstm", "processes": 2}
    with pytest.raises(TrainingError, check=lambda error: error.code == "training-process-ended"):
        run(ar1_windows, tmp_path, Listener(kill=True), **settings)
    assert run(ar1_windows, tmp_path, Listener(), **settings).resumed_after_epoch == 1


def test_on_an_accelerator_one_process_trains(ar1_windows):
    module = Forecaster.unfitted("shared_cnn_lstm", ar1_windows).module
    compute = Compute(Device.CUDA, Precision.FLOAT32)
    with (
        pytest.raises(DeviceError, check=lambda error: error.code == "processes-unavailable"),
        helper_processes(module, module.recipe, ar1_windows, compute, 2),
    ):
        pass
