"""File locks of the lake: one process holds a lock at a time, and the lock file names that process.

Lock files are opened for writing, because NFS grants exclusive locks only on such files. The system releases a lock
when its process ends, even if it is killed.
"""

import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from voltpipe.errors import VoltpipeError

SILENT_AFTER_S = 120.0
"""Time without a touch after which the holder of a published lock is gone or cut off. NFS may delay a touch by 60 s."""
_TOUCH_S = 10.0
_FIRST_NOTICE_S, _NEXT_NOTICE_S = 3.0, 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class LockHolder:
    """The process that holds a lock, as recorded in the lock file."""

    host: str
    boot: str
    """Boot ID of the running kernel; empty if the system has none."""
    pid: int
    since_utc: str
    """Time of locking in ISO 8601, to the second."""
    details: dict[str, str] = field(default_factory=dict)

    @classmethod
    def this_process(cls, details: Mapping[str, str] | None = None) -> "LockHolder":
        """Describe this process as the holder from now on."""
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "seconds")
        return cls(socket.gethostname(), _boot_id(), os.getpid(), now, dict(details or {}))

    @property
    def is_on_this_machine(self) -> bool:
        """Return whether the holder runs on this kernel. If so, its lock is visible here on any file system."""
        return self.boot == _boot_id() if self.boot else self.host == socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since_utc} UTC"


class LockHeldError(VoltpipeError):
    """A lock that another process holds."""

    def __init__(self, path: Path, holder: LockHolder | None) -> None:
        super().__init__(
            f"{path} is locked by {holder or 'another process'}. Wait until that process ends, or stop it.",
            code="lock-held",
        )
        self.path, self.holder = path, holder


@contextmanager
def exclusive_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that excludes all other processes. A wait of more than a few seconds is announced on standard error.

    Args:
        path: the lock file; created if absent, and never removed.
        wait: whether to wait while another process holds the lock.

    Raises:
        LockHeldError: another process holds the lock, and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path, os.O_CREAT) as file:
        _acquire(file, path, wait=wait)
        _write_holder(file)
        try:
            yield
        finally:
            os.ftruncate(file, 0)


@contextmanager
def published_lock(path: Path, details: Mapping[str, str] | None = None) -> Iterator[None]:
    """Hold a lock whose file exists only while the block runs, and touch the file regularly as a sign of life.

    The file is locked before it appears, so no process finds it free. After an exception the file is kept for
    `abandoned_lock`.

    Args:
        path: the lock file. No other process may use it at the same time.
        details: entries stored with the holder, for readers of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    released = threading.Event()
    with _open(hidden, os.O_CREAT) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _write_holder(file, details)
        hidden.replace(path)
        touching = threading.Thread(target=_touch, args=(file, released), daemon=True)
        touching.start()
        try:
            yield
            path.unlink(missing_ok=True)
        finally:
            released.set()
            touching.join()


@contextmanager
def abandoned_lock(path: Path) -> Iterator[bool]:
    """Take over a published lock if its process is gone. Yield whether it is gone; if so, remove the file afterwards.

    The lock of another machine is never taken over, because it may not be visible here on a shared file system.
    """
    holder = read_holder(path)
    restarted = holder is not None and holder.host == socket.gethostname() and silence_s(path) > SILENT_AFTER_S
    if holder is not None and not holder.is_on_this_machine and not restarted:
        yield False
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_open(path))
            _acquire(file, path, wait=False)
            gone = os.fstat(file).st_ino == path.stat().st_ino  # otherwise the holder has just removed the file
        except (LockHeldError, FileNotFoundError):
            gone = False
        yield gone
        if gone:
            path.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Return whether another process holds a lock on a file of any kind. Nothing is written to the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
    return False


def read_holder(path: Path) -> LockHolder | None:
    """Read which process holds a lock, or held it last. Return None if the file does not name one."""
    try:
        return LockHolder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def silence_s(path: Path) -> float:
    """Return the seconds since a published lock was last touched, by the clock of the file system."""
    probe = path.with_name(f".clock-{uuid4().hex}")
    probe.touch()
    try:
        return max(0.0, probe.stat().st_mtime - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _open(path: Path, flags: int = 0) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _acquire(file: int, path: Path, *, wait: bool) -> None:
    notice_s, pause_s = time.monotonic() + _FIRST_NOTICE_S, 0.01
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise LockHeldError(path, read_holder(path)) from None
        else:
            return
        if time.monotonic() >= notice_s:
            holder = read_holder(path) or "another process"
            print(f"Waiting for the lock {path}, held by {holder}.", file=sys.stderr, flush=True)
            notice_s += _NEXT_NOTICE_S
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.5)


def _write_holder(file: int, details: Mapping[str, str] | None = None) -> None:
    with suppress(OSError):  # the lock works on a full disk, too
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(LockHolder.this_process(details))).encode(), 0)


def _touch(file: int, released: threading.Event) -> None:
    while not released.wait(_TOUCH_S):
        with suppress(OSError):
            os.utime(file)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
