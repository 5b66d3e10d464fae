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

from infra.patience import Watch, until

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.drills.victims"])


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    """Run one of `tests.drills.victims` in a process of its own."""
    process = SERVER.Process(target=work, args=arguments)
    process.start()
    return process


def kill_once_there(process: BaseProcess, directory: Path, pattern: str) -> None:
    """SIGKILL the process as soon as a file below `place` matches."""
    watch = Watch()  # over this process, which started the server that forked the other
    while not list(directory.glob(pattern)):
        assert process.is_alive(), f"it ended ({process.exitcode}) before {pattern} appeared"
        watch.look(pattern)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid or 0, signal.SIGKILL)
    assert ended_by(process) == -signal.SIGKILL


def ended_by(process: BaseProcess) -> int | None:
    """Exit status; minus the signal's number for a process that a signal ended."""

    def ended() -> bool:
        process.join(1)
        return process.exitcode is not None

    until(ended, "the end of the process")
    return process.exitcode
