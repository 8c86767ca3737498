"""Checkpoints are complete, locked, and belong to one training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from voltpipe.forecasting.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    StopReason,
    TrainingState,
    hold_checkpoint_folder,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from voltpipe.lake.locks import LockHeldError
from voltpipe.progress import EpochRecord

MADE_WITH = {"seed": "0", "window_set": "abc"}


def checkpoint(n_epochs: int) -> Checkpoint:
    history = tuple(
        EpochRecord(
            epoch=epoch,
            elapsed_s=2.0 * epoch,
            train_loss=1.0,
            validation_loss=1.0,
            validation_r2={1: 0.5, 20: -0.1},
            learning_rate=1e-3,
            windows_per_s=9.0,
            remaining_s=0.0,
        )
        for epoch in range(1, n_epochs + 1)
    )
    state = TrainingState(
        made_with=MADE_WITH, device="cpu", precision="float32", n_parameters=1, planned_epochs=9, history=history
    )
    tensor = torch.full((2,), float(n_epochs))
    return Checkpoint(state, {"w": tensor}, {"w": tensor - 1}, {"0.exp_avg": tensor + 1})


def test_a_checkpoint_is_read_as_it_was_written_and_two_are_kept(tmp_path: Path):
    for n_epochs in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint(n_epochs))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0000002", "epoch-0000003"]
    read = load_checkpoint(tmp_path, MADE_WITH)
    assert read is not None
    assert read.state == checkpoint(3).state
    assert read.state.elapsed_s == 6.0
    assert (read.weights["w"][0], read.best_weights["w"][0], read.optimizer["0.exp_avg"][0]) == (3, 2, 4)


def test_before_the_first_epoch_there_is_no_checkpoint(tmp_path: Path):
    assert load_checkpoint(tmp_path, MADE_WITH) is None


def test_the_reason_to_stop_is_kept_and_may_be_absent_in_old_checkpoints(tmp_path: Path):
    state = checkpoint(1).state.model_copy(
        update={"stopped_because": "all 1 epochs are done", "stop_reason": StopReason.EPOCHS_DONE}
    )
    save_checkpoint(tmp_path, Checkpoint(state, {}, {}, {}))
    assert read_state(tmp_path).stop_reason is StopReason.EPOCHS_DONE
    file = tmp_path / "epoch-0000001" / "state.json"
    content = json.loads(file.read_text())
    del content["stop_reason"]
    file.write_text(json.dumps(content))
    old = read_state(tmp_path)
    assert (old.stop_reason, old.stopped_because) == (None, "all 1 epochs are done")


def test_nothing_in_a_checkpoint_can_run_code(tmp_path: Path):
    save_checkpoint(tmp_path, checkpoint(1))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json"}


@pytest.mark.parametrize(
    "name", ["state.json", "weights.safetensors", "best_weights.safetensors", "optimizer.safetensors"]
)
def test_if_the_newest_checkpoint_is_damaged_the_one_before_is_loaded(tmp_path: Path, name: str):
    for n_epochs in (1, 2):
        save_checkpoint(tmp_path, checkpoint(n_epochs))
    newest = tmp_path / "epoch-0000002" / name
    newest.write_bytes(newest.read_bytes()[:-9])
    read = load_checkpoint(tmp_path, MADE_WITH)
    assert read is not None
    assert read.state.epoch == 1


def test_a_flipped_bit_is_detected(tmp_path: Path):
    for n_epochs in (1, 2):
        save_checkpoint(tmp_path, checkpoint(n_epochs))
    newest = tmp_path / "epoch-0000002" / "weights.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    read = load_checkpoint(tmp_path, MADE_WITH)
    assert read is not None
    assert read.state.epoch == 1


def test_if_all_checkpoints_are_damaged_the_error_names_each(tmp_path: Path):
    for n_epochs in (1, 2):
        save_checkpoint(tmp_path, checkpoint(n_epochs))
        (tmp_path / f"epoch-000000{n_epochs}" / "weights.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"epoch-0000002.*epoch-0000001", check=lambda error: error.code == "checkpoints-damaged"
    ):
        load_checkpoint(tmp_path, MADE_WITH)


def test_a_checkpoint_of_another_training_is_refused_with_the_difference(tmp_path: Path):
    save_checkpoint(tmp_path, checkpoint(1))
    with pytest.raises(
        CheckpointError, match=r"seed .*0.*1", check=lambda error: error.code == "checkpoint-of-another-training"
    ):
        load_checkpoint(tmp_path, MADE_WITH | {"seed": "1"})


@pytest.mark.slow
def test_a_second_process_is_refused_while_the_first_holds_the_folder(tmp_path: Path):
    holder = "import sys, pathlib; from voltpipe.forecasting.training.checkpoint import hold_checkpoint_folder\n"
    holder += "with hold_checkpoint_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(LockHeldError) as refused, hold_checkpoint_folder(tmp_path):
            pass
        assert (refused.value.code, refused.value.holder.pid) == ("lock-held", first.pid)
        assert refused.value.path == tmp_path / "lock"
        first.kill()
    with hold_checkpoint_folder(tmp_path):
        pass


def test_partial_checkpoints_of_a_killed_training_are_deleted(tmp_path: Path):
    (tmp_path / ".epoch-0000001.0123abcd.partial").mkdir()
    with hold_checkpoint_folder(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
