"""Wait for what makes progress, however slow the machine is, and end what hangs.

A process hangs that neither says nor computes anything: in `QUIET` seconds no output, and less than `SHARE` of one
core's time for it and all that it started. As a command (`python -m infra.patience make test`) it ends the other by
SIGABRT, at which Python processes with the fault handler on print the stack of every thread; it then exits with 124.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO, Any

import psutil

QUIET = 300.0  # seconds
WHOLE = 1_800.0  # seconds: as a command, over other waits, which give up first, and over downloads, which are no work
SHARE = 0.02  # busy machines give a process that computes more, and loops that only look whether it is time need less
PAUSE = 0.05  # seconds between two looks
HUNG = 124  # exit status, as that of timeout(1)


class Hung(AssertionError):
    """What was waited for makes no progress."""


class Watch:
    """Tells a process that works from one that hangs, with all the processes that it started.

    Args:
        process: the one to watch; this process without the waiting thread where it is None.
        quiet: seconds after which doing nothing is a hang.
    """

    def __init__(self, process: psutil.Process | None = None, quiet: float = QUIET) -> None:
        self.process, self.quiet = process, quiet
        self.looked, self.produced = 0.0, 0
        self._begin(self._spent())

    def look(self, what: str, produced: int = 0) -> None:
        """Take note of the progress since the last look; `produced`: bytes of output so far.

        Raises:
            Hung: there was none for too long.
        """
        now = time.monotonic()
        if produced == self.produced and now - self.looked < min(2.0, self.quiet / 4):
            return  # asking for every process's time is not free
        self.looked, spent = now, self._spent()
        if produced != self.produced or spent - self.spent > SHARE * self.quiet:
            self.produced = produced
            self._begin(spent)
        elif now - self.since > self.quiet:
            raise Hung(f"{what}: no output and no work for {self.quiet:.0f} s")

    def _begin(self, spent: float) -> None:
        self.since, self.spent = time.monotonic(), spent

    def _spent(self) -> float:
        """CPU seconds of the process and its descendants, the ended ones too."""
        own = self.process or psutil.Process()
        total = 0.0 if self.process else -time.thread_time()
        for process in _tree(own):
            try:
                total += sum(process.cpu_times()[:4])  # own and reaped children's, user and system
            except psutil.Error:
                continue  # it has ended since; its time is its parent's now
        return total


def until(condition: Callable[[], bool], what: str = "the condition", quiet: float = QUIET) -> None:
    """Return once the condition holds, which this process's other threads or those that it started bring about.

    Raises:
        Hung: they do nothing.
    """
    watch = Watch(quiet=quiet)
    while not condition():
        watch.look(what)
        time.sleep(PAUSE)


def run(
    args: list[str], stderr: int = subprocess.STDOUT, quiet: float = QUIET, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` with its output kept (`stderr`: `STDOUT` merges it, `PIPE` keeps it apart), as long as it takes.

    Raises:
        Hung: it did, and was ended; the message has the end of its output.
    """
    with TemporaryFile() as out, TemporaryFile() as error:
        process = subprocess.Popen(args, stdout=out, stderr=error if stderr == subprocess.PIPE else stderr, **options)
        try:
            wait(process, " ".join(args), quiet, lambda: _size(out) + _size(error))
        except Hung as hung:
            end(process)
            raise Hung(f"{hung}\n{(_text(out) + _text(error))[-6000:]}") from None
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(args, process.returncode, _text(out), _text(error))


def wait(
    process: subprocess.Popen[Any], what: str, quiet: float = QUIET, produced: Callable[[], int] = lambda: 0
) -> int:
    """The exit status of a process, as long as it takes.

    Raises:
        Hung: it does; it is still there.
    """
    watch = Watch(psutil.Process(process.pid), quiet)
    while True:
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            watch.look(what, produced())


def end(process: subprocess.Popen[Any]) -> None:
    """SIGABRT to the process and its descendants, SIGKILL to what is left of them after ten seconds."""
    tree = _tree(psutil.Process(process.pid))
    for one in tree:  # parents first: one whose child has ended goes on, and its stack no longer says where it hung
        _signal(one, signal.SIGABRT)
    _, left = psutil.wait_procs(tree, timeout=10)
    for one in left:
        _signal(one, signal.SIGKILL)
    process.wait()


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return  # it has ended


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def main() -> int:
    process = subprocess.Popen(sys.argv[1:])
    try:
        return wait(process, " ".join(sys.argv[1:]), WHOLE)
    except Hung as hung:
        print(hung, file=sys.stderr)
        end(process)
        return HUNG


if __name__ == "__main__":
    sys.exit(main())
