"""Several processes train to the same weights as one, and all end with the training."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from voltpipe.forecasting.architectures.shared_cnn_lstm import SharedCnnLstm
from voltpipe.forecasting.compute import Compute, DeviceError
from voltpipe.forecasting.settings import Device, Precision, TrainingSettings
from voltpipe.forecasting.training.checkpoint import TrainingError
from voltpipe.forecasting.training.data_parallel import Share, process_group
from voltpipe.forecasting.training.train import train
from voltpipe.forecasting.training.training_result import read_result

QUICK = {"max_epochs": 2, "windows_per_epoch": 48, "batch_size": 5, "precision": "float32", "device": "cpu"}


class Listener:
    """Record the child processes. With `kill`, kill one of them after the first epoch."""

    def __init__(self, *, kill: bool = False) -> None:
        self.kill = kill
        self.workers: set[int] = set()

    def started(self, **facts) -> None: ...

    def epoch_finished(self, record) -> None:
        workers = [child.pid for child in active_children()]
        self.workers |= set(workers)
        if self.kill:
            os.kill(workers[0], signal.SIGKILL)


def run(window_set, folder: Path, listener: Listener, **settings):
    return train(window_set, TrainingSettings(**QUICK | settings), checkpoint_folder=folder, progress=listener)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["shared_cnn_lstm", "coupled_cnn_lstm"])
def test_two_processes_train_to_the_weights_of_one(architecture, planted_windows, ar1_windows, tmp_path):
    window_set = ar1_windows if architecture == "shared_cnn_lstm" else planted_windows
    one = run(window_set, tmp_path / "one", Listener(), architecture=architecture)
    listener = Listener()
    two = run(window_set, tmp_path / "two", listener, architecture=architecture, processes=2)
    assert len(listener.workers) == 1
    assert not active_children()
    # Each process draws for itself which windows are trained as those of an unknown organoid.
    atol = 1e-4 if architecture == "shared_cnn_lstm" else 0.05
    for name, tensor in one.forecaster.module.state_dict().items():
        torch.testing.assert_close(two.forecaster.module.state_dict()[name], tensor, rtol=0, atol=atol)
    losses = [[record.train_loss for record in result.history] for result in (one, two)]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=0.02, atol=0)


@pytest.mark.slow
def test_a_killed_worker_ends_the_training_which_can_be_resumed(ar1_windows, tmp_path):
    settings = {"architecture": "shared_cnn_lstm", "processes": 2}
    with pytest.raises(TrainingError, check=lambda error: error.code == "training-process-ended"):
        run(ar1_windows, tmp_path, Listener(kill=True), **settings)
    assert run(ar1_windows, tmp_path, Listener(), **settings).resumed_after_epoch == 1


def test_each_process_needs_its_own_accelerator(ar1_windows):
    compute = Compute(Device.MPS, Precision.FLOAT32)
    share = Share("shared_cnn_lstm", {}, SharedCnnLstm.recipe, ar1_windows.folder, compute)
    with (
        pytest.raises(DeviceError, match="1 mps", check=lambda error: error.code == "processes-unavailable"),
        process_group(share, 2),
    ):
        pass


TRAIN = """
import pathlib, sys
import torch
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.forecasting.training.training_result import read_result
from voltpipe.windows.window_set import WindowSet

class Announces:
    def started(self, **facts): print("started", flush=True)
    def epoch_finished(self, record):
        print("epoch", flush=True)
        if then == "hold":
            sys.stdin.read()

windows, folder, settings, then = sys.argv[1:]
torch.set_num_threads(1)
settings = TrainingSettings.model_validate_json(settings)
train(WindowSet(pathlib.Path(windows)), settings, checkpoint_folder=pathlib.Path(folder), progress=Announces())
"""


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], check=False, capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def is_running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


@pytest.mark.slow
def test_processes_end_with_a_training_that_is_killed(ar1_windows, tmp_path):
    settings = TrainingSettings(**QUICK, architecture="shared_cnn_lstm", processes=2)
    command = [sys.executable, "-c", TRAIN, ar1_windows.folder, tmp_path / "run", settings.model_dump_json(), "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as training:
        assert [training.stdout.readline() for _ in range(2)] == ["started\n", "epoch\n"]
        family = children_of(training.pid)
        training.kill()
    assert family
    for _ in range(100):
        if not any(is_running(pid) for pid in family):
            return
        time.sleep(0.1)
    pytest.fail(f"still running: {family}")


@pytest.mark.slow
def test_torchrun_trains_to_the_weights_of_processes_started_here(ar1_windows, tmp_path):
    settings = TrainingSettings(**QUICK, architecture="shared_cnn_lstm")
    here = run(ar1_windows, tmp_path / "here", Listener(), architecture="shared_cnn_lstm", processes=2)
    (tmp_path / "train_here.py").write_text(TRAIN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [tmp_path / "train_here.py", ar1_windows.folder, tmp_path / "there", settings.model_dump_json(), "go"]
    printed = subprocess.run([*torchrun, *arguments], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == ["started", "epoch", "epoch"]
    there = read_result(tmp_path / "there").forecaster.module.state_dict()
    assert all(torch.equal(there[name], tensor) for name, tensor in here.forecaster.module.state_dict().items())
