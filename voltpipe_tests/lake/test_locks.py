"""Only one process holds a lock at a time, the lock file names it, and a long wait is announced."""

import ast
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import voltpipe
from voltpipe.forecasting.training.checkpoint import hold_checkpoint_folder
from voltpipe.lake import locks
from voltpipe.lake.locks import (
    SILENT_AFTER_S,
    LockHeldError,
    LockHolder,
    abandoned_lock,
    exclusive_lock,
    is_locked,
    published_lock,
    read_holder,
    silence_s,
)

HOLD = """
import sys
from pathlib import Path
from voltpipe.lake import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def hold():
    """Start a process that holds a lock until a line is written to its input."""
    started = []

    def start(kind, path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, kind, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_names_its_holder_and_is_free_when_the_holder_is_killed(tmp_path, hold):
    path = tmp_path / "new folder" / "lock"
    other = hold("exclusive_lock", path)
    assert is_locked(path)
    with pytest.raises(LockHeldError) as refused, exclusive_lock(path, wait=False):
        pass
    assert refused.value.code == "lock-held"
    holder = refused.value.holder
    assert (holder.pid, holder.host, holder.is_on_this_machine) == (other.pid, os.uname().nodename, True)
    assert all(fact in str(refused.value) for fact in (str(path), str(other.pid), holder.host, holder.since_utc))
    other.kill()
    other.wait(10)
    with exclusive_lock(path, wait=False):
        assert read_holder(path).pid == os.getpid()
    assert read_holder(path) is None
    assert not is_locked(path)


@pytest.mark.slow
def test_a_long_wait_names_the_lock_and_its_holder_and_ends_when_the_lock_is_free(tmp_path, hold, monkeypatch, capsys):
    monkeypatch.setattr(locks, "_FIRST_NOTICE_S", 0.2)
    other = hold("exclusive_lock", tmp_path / "lock")
    since = read_holder(tmp_path / "lock").since_utc

    def release():
        other.stdin.write("\n")
        other.stdin.flush()

    threading.Timer(1.0, release).start()
    with exclusive_lock(tmp_path / "lock"):
        notice = capsys.readouterr().err
    assert notice.count("\n") == 1  # announced once, not at every attempt
    assert all(fact in notice for fact in (str(tmp_path / "lock"), str(other.pid), os.uname().nodename, since))


def test_a_short_wait_is_silent(tmp_path, hold, capsys):
    other = hold("exclusive_lock", tmp_path / "lock")
    threading.Timer(0.3, other.kill).start()
    with exclusive_lock(tmp_path / "lock"):
        assert capsys.readouterr().err == ""


def test_a_published_lock_exists_while_it_is_held_and_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_TOUCH_S", 0.05)
    path = tmp_path / "running" / "run"
    with published_lock(path, {"port": "3000"}):
        assert is_locked(path)
        assert read_holder(path).details == {"port": "3000"}
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 20
        while silence_s(path) > 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with abandoned_lock(path) as gone:
            assert not gone
    assert list(path.parent.iterdir()) == []


def test_a_published_lock_is_abandoned_when_its_process_was_killed(tmp_path, hold):
    path = tmp_path / "run"
    other = hold("published_lock", path)
    with abandoned_lock(path) as gone:
        assert not gone
    other.send_signal(signal.SIGKILL)
    other.wait(10)
    with abandoned_lock(path) as gone:
        assert gone
    assert list(tmp_path.iterdir()) == []
    with abandoned_lock(path) as gone:
        assert not gone


def test_the_file_of_an_abandoned_lock_stays_if_the_block_fails(tmp_path):
    (tmp_path / "run").touch()
    with ExitStack() as held:
        assert held.enter_context(abandoned_lock(tmp_path / "run"))
        with pytest.raises(FileNotFoundError, match="elsewhere"), held.pop_all():
            raise FileNotFoundError("elsewhere")
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("host", "boot", "silent_s", "gone"),
    [
        ("here", "this", 0, True),
        ("another name", "this", 0, True),  # a container on the same kernel
        ("here", "before", 0, False),  # another machine with the same name
        ("here", "before", 2 * SILENT_AFTER_S, True),  # this machine after a restart
        ("another name", "before", 2 * SILENT_AFTER_S, False),
    ],
)
def test_only_this_machines_locks_are_taken_over(tmp_path, monkeypatch, host, boot, silent_s, gone):
    here = LockHolder.this_process()
    holder = replace(here, host=here.host if host == "here" else host, boot=here.boot if boot == "this" else boot)
    monkeypatch.setattr(LockHolder, "this_process", lambda details=None: holder)
    with pytest.raises(KeyboardInterrupt), published_lock(tmp_path / "run"):
        raise KeyboardInterrupt
    touched = time.time() - silent_s
    os.utime(tmp_path / "run", (touched, touched))
    with abandoned_lock(tmp_path / "run") as found:
        assert found is gone


def test_locks_work_on_file_systems_that_lock_only_files_open_for_writing(tmp_path, nfs_locks):
    path = tmp_path / "lock"
    path.touch()
    with path.open() as reading, pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.flock(reading, fcntl.LOCK_EX)
    with exclusive_lock(path), published_lock(tmp_path / "run"), hold_checkpoint_folder(tmp_path / "checkpoint"):
        assert is_locked(path)
        assert is_locked(tmp_path / "checkpoint" / "lock")
    (tmp_path / "run").touch()
    with abandoned_lock(tmp_path / "run") as gone:
        assert gone


def test_a_lock_works_on_a_disk_too_full_for_the_holders_name(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with exclusive_lock(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
        assert read_holder(tmp_path / "lock") is None


def test_no_other_module_imports_fcntl():
    locking = set()
    for path in Path(voltpipe.__file__).parent.rglob("*.py"):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
        if "fcntl" in imported:
            locking.add(path)
    assert locking == {Path(locks.__file__)}
