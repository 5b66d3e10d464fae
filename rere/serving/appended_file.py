"""A file that several processes append lines to, one at a time: its lock, and lines that are whole or absent.

The lock is `flock` on a file beside it: it holds among processes of one machine, and among machines on NFS (Linux) and
on cluster file systems that support it.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from rere.errors import RereError

LOCK_SECONDS = 60.0  # a change of a large catalogue takes a while, and is made under the lock
LOCK_PAUSE = 0.02
MOST = 1 << 20  # bytes


def append(path: Path, end: int, lines: bytes) -> None:
    """Put `lines` at byte `end`, all of them on disk or none; what lies behind it is a line that was never finished.

    Raises:
        OSError: there is no room, no permission, or somebody wrote there without the lock.
    """
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.lseek(descriptor, end, os.SEEK_SET)
        if b"\n" in os.read(descriptor, MOST):
            raise OSError(f"{path} was written to by others at the same time: its file system has no locks")
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)
    if new:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # or the name may be lost with the power
        finally:
            os.close(directory)


def locked(path: Path) -> int:
    """A descriptor that holds the lock until it is closed.

    Raises:
        OSError: no lock file can be made.
        RereError: another service holds the lock for longer than any change takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, deadline = path.with_name(path.name + ".lock"), time.monotonic() + LOCK_SECONDS
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise RereError(
                    f"the lock {lock}", f"another service that holds it for {LOCK_SECONDS:g} s", "stop that service"
                ) from None
            time.sleep(LOCK_PAUSE)
        except OSError:
            os.close(descriptor)
            raise
