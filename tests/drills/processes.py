"""Real processes for the drills: forked from a server that has the heavy imports done, so that one costs no seconds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.drills.victims"])
PATIENCE = 240  # seconds, on a busy machine


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    """Run one of `tests.drills.victims` in a process of its own."""
    process = SERVER.Process(target=work, args=arguments)
    process.start()
    return process


def kill_once_there(process: BaseProcess, place: Path, pattern: str) -> None:
    """SIGKILL the process as soon as a file below `place` matches."""
    deadline = time.monotonic() + PATIENCE
    while not list(place.glob(pattern)):
        assert process.is_alive(), f"it ended ({process.exitcode}) before {pattern} appeared"
        assert time.monotonic() < deadline, f"no {pattern} in {PATIENCE} s"
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid or 0, signal.SIGKILL)
    assert ended_by(process) == -signal.SIGKILL


def ended_by(process: BaseProcess) -> int | None:
    """Exit status; minus the signal's number for a process that a signal ended."""
    process.join(PATIENCE)
    return process.exitcode
