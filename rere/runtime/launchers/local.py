"""Workers on this machine: torchrun started as a child.

`python -m rere.runtime.launchers.local WORK N` stands between the parent and N workers, each of which is
`python -m rere.runtime.launchers.local WORK`.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

import torch
from pydantic import Field

from rere.errors import RereError
from rere.runtime.launch import Exchange, Log, die_with_parent, ended, take_part
from rere.runtime.launchers.base import Launcher
from rere.runtime.threads import threads_each

LOOPBACK = "lo0" if platform.system() == "Darwin" else "lo"


class LocalLauncher(Launcher):
    """Processes of this machine, a GPU each where there are any. One isn't started: the stage runs in the caller."""

    type: Literal["local"] = "local"
    processes: int = Field(default=1, ge=1, description="that share every batch")

    @property
    def starts_workers(self) -> bool:
        """See `LauncherSettings`."""
        return self.processes > 1

    @property
    def on_gpus(self) -> bool:
        """See `LauncherSettings`."""
        return torch.cuda.is_available()

    def check(self) -> None:
        """RereError for fewer GPUs than processes."""
        if torch.cuda.is_available() and torch.cuda.device_count() < self.processes:
            raise RereError(
                f"{self.processes} GPUs, one per process",
                f"{torch.cuda.device_count()}",
                "lower `processes`, or use a larger machine",
            )

    def launch(self, worker: str, spec: Mapping[str, Any], work: Path, log: Log | None = None) -> None:
        """See `Launcher`."""
        self.check()
        exchange = Exchange(work)
        exchange.open(worker, spec)
        environment = {
            "GLOO_SOCKET_IFNAME": LOOPBACK,  # whatever the machine's name resolves to
            **os.environ,
            **threads_each(self.processes),
        }
        command = [sys.executable, "-m", "rere.runtime.launchers.local", str(work), str(self.processes)]
        if status := exchange.follow(command, environment, log):
            raise exchange.failure(f"{self.processes} processes that finish", f"torchrun {ended(status)}")

    def within_reach(self) -> Self:
        """As many processes as this machine has GPUs, at least one and at most these."""
        return self.model_copy(update={"processes": max(1, min(self.processes, torch.cuda.device_count()))})


def _start(work: str, processes: str) -> None:
    """torchrun, between the parent and the workers."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    die_with_parent()
    os.environ["RERE_PARENT"] = str(os.getpid())  # the workers'
    here = "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}"
    try:
        torchrun([*here, "-m", "rere.runtime.launchers.local", work])
    except ChildFailedError as error:
        # One that was killed is the cause, whatever the others said when they lost it; SIGTERM is torchrun's own.
        for number, failure in error.failures.items():
            if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
                said = f"worker {number} {ended(failure.exitcode)}"
                Exchange(Path(work)).error.write_text(json.dumps([said]), encoding="utf-8")
        sys.exit(1)  # the log's last words are the workers'


def _work(work: str) -> NoReturn:
    die_with_parent()
    take_part(Path(work))


if __name__ == "__main__":
    _start(*sys.argv[1:]) if len(sys.argv) > 2 else _work(sys.argv[1])
