"""The files by which a launcher and its workers talk to each other: settings, records, the first error.

They meet in files only, in a work directory that all of them see: the specification (JSON), artifact directories, a
line of JSON per training record, lines of progress, and the first error. `rere/runtime/launchers` has the launchers.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from rere.errors import RereError
from rere.runtime import distributed
from rere.runtime.progress import VARIABLE as PROGRESS

Log = Callable[[dict[str, float], int], None]
POLL_SECONDS = 0.2
DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG
SHOWN_LINES, SHOWN_WIDTH = 40, 200  # of the log, in the message of a failure
GO_ON = "then run again: a training goes on from its last checkpoint, with any launcher and number of workers"


class Exchange:
    """The files of one stage that workers share out.

    Args:
        work: their directory, which results and checkpoints are in as well.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.spec = work / "processes.json"
        self.records = work / "processes.jsonl"
        self.printed = work / "processes.log"
        self.progress = work / "processes.progress"
        self.error = work / "processes.error.json"
        self.attempt = work / "processes.attempt"  # of launchers that start workers anew

    # ------------------------------------------------------------ the parent's side

    def open(self, worker: str, spec: Mapping[str, Any]) -> None:
        """Write what the workers are to do: `worker` is `package.module:function`, called with (spec, log)."""
        self.work.mkdir(parents=True, exist_ok=True)
        for old in (self.records, self.progress, self.error):
            old.unlink(missing_ok=True)
        self.spec.write_text(json.dumps({**spec, "worker": worker}), encoding="utf-8")

    def follow(self, command: Sequence[str], environment: Mapping[str, str], log: Log | None) -> int:
        """Run a child that starts the workers, and hand on their records and progress as they come.

        The child is ended with this process: see `die_with_parent`.

        Returns:
            Its exit status; what it printed is in `printed`.
        """
        own = {
            "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its stack in the log
            **environment,
            "PYTHONPATH": os.pathsep.join(sys.path),  # a user's reward is found there too
            "RERE_PARENT": str(os.getpid()),
            PROGRESS: str(self.progress),
        }
        with self.printed.open("w", encoding="utf-8") as output:
            child = subprocess.Popen(command, env=own, stdout=output, stderr=subprocess.STDOUT)
            try:
                seen, told = 0, 0
                while child.poll() is None:
                    time.sleep(POLL_SECONDS)
                    seen, told = self._relay(seen, log), self._show(told)
                self._relay(seen, log)
                self._show(told)
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
        return child.returncode

    def failure(self, expected: str, otherwise: str) -> RereError:
        """What the worker that failed first has to say; a user's mistake in its own words.

        Args:
            expected: what was to happen.
            otherwise: why it didn't, where no worker said so.
        """
        said = self.said()
        if len(said) == 3:
            return RereError(*said)
        why = said[0] if said else otherwise
        printed = self.printed.read_text(encoding="utf-8", errors="replace").splitlines()
        last = [line[:SHOWN_WIDTH] for line in printed if line.strip()][-SHOWN_LINES:]
        shown = "".join(f"\n  {line}" for line in last) or " nothing"
        got = f"{why}. The last that they printed ({self.printed}):{shown}\n"
        return RereError(expected, got, f"see above; {GO_ON}")

    def said(self) -> tuple[str, ...]:
        """The first error: the three parts of a `RereError`, one text of another, or nothing."""
        return tuple(json.loads(self.error.read_text(encoding="utf-8"))) if self.error.exists() else ()

    def _relay(self, seen: int, log: Log | None) -> int:
        """Hand on the whole lines from byte `seen`; returns where they end."""
        if log is None or not self.records.exists():
            return seen
        with self.records.open("rb") as file:
            file.seek(seen)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        for line in whole.splitlines():
            update, record = json.loads(line)
            log(record, update)
        return seen + len(whole)

    def _show(self, told: int) -> int:
        """Print the lines of the first worker's progress from character `told`; returns where they end."""
        if not self.progress.exists():
            return told
        text = self.progress.read_text(encoding="utf-8")
        sys.stderr.write(text[told:])
        sys.stderr.flush()
        return len(text)

    # ------------------------------------------------------------ the workers' side

    def call(self) -> None:
        """Do this worker's part; its process has joined the group. The first error of all is kept for the parent."""
        spec = json.loads(self.spec.read_text(encoding="utf-8"))
        module, name = spec["worker"].split(":")
        try:
            getattr(importlib.import_module(module), name)(spec, self._record)
            distributed.barrier()
        except Exception as error:
            self.keep(error, f"worker {distributed.rank()}")
            raise

    def keep(self, error: Exception, whose: str) -> None:
        """Keep an error for the parent, unless there was one before, which most likely caused this one."""
        plain = f"{type(error).__name__} in {whose}: {error}"
        try:
            with self.error.open("x", encoding="utf-8") as file:
                json.dump(error.parts if isinstance(error, RereError) else (plain,), file)
            traceback.print_exc()
        except FileExistsError:
            print(plain)

    def _record(self, record: dict[str, float], update: int) -> None:
        if distributed.is_main():
            with self.records.open("a", encoding="utf-8") as file:
                file.write(json.dumps([update, record]) + "\n")


def take_part(work: Path) -> NoReturn:
    """Be one worker from beginning to end: join the process group that the environment names as torchrun does (RANK,
    WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), do this worker's part, and leave.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if os.environ["RANK"] != "0":
        os.environ[PROGRESS] = os.devnull
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        Exchange(work).call()
        dist.destroy_process_group()
    except Exception:
        leave(1)
    leave(0)


def ended(status: int) -> str:
    """How a process ended. SIGKILL comes from people, and from a kernel short of memory; others tell of themselves."""
    if status >= 0:
        return f"ended with exit status {status}"
    return f"killed by {signal.Signals(-status).name}" + (" (out of memory?)" if -status == signal.SIGKILL else "")


def leave(status: int) -> NoReturn:
    """Exit without taking the interpreter down.

    Threads of gloo outlive `destroy_process_group` where someone holds a group (FSDP does). One that lets go of a
    tensor while the interpreter goes down aborts the process (pytorch/pytorch#190489), though its work is done.
    """
    atexit._run_exitfuncs()  # temporary directories, logs
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def die_with_parent() -> None:
    """No process is left behind when its parent is killed (Linux), be it before this call."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
    if os.getppid() != int(os.environ["RERE_PARENT"]):
        sys.exit("the parent is gone")
