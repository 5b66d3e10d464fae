"""Several processes for one stage: torchrun started as a child.

The parent calls `launch`, a worker's module ends in `work`. They meet in files only: a JSON specification, artifact
directories, a line of JSON per training record, one error file. All processes are on one machine.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
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
LOOPBACK = "lo0" if platform.system() == "Darwin" else "lo"


# ---------------------------------------------------------------- the parent's side


def launch(module: str, spec: Mapping[str, Any], processes: int, work: Path, log: Log | None = None) -> None:
    """Run `python -m module` in `processes` processes by torchrun, and wait.

    Args:
        spec: JSON, handed to the module's `work`.
        work: directory of the specification, the records, and `processes.log` (what the processes print).
        log: called with the training records of the first process as they come.

    Raises:
        RereError: fewer GPUs than processes, or a process that failed or was killed; the others are ended. It shows the
            log's last lines.
    """
    if torch.cuda.is_available() and torch.cuda.device_count() < processes:
        raise RereError(
            f"{processes} GPUs, one per process",
            f"{torch.cuda.device_count()}",
            "lower `processes`, or use a larger machine",
        )
    work.mkdir(parents=True, exist_ok=True)
    place, records, printed = work / "processes.json", work / "processes.jsonl", work / "processes.log"
    shown = work / "processes.progress"
    for old in (records, shown, _error_file(place)):
        old.unlink(missing_ok=True)
    place.write_text(json.dumps(spec), encoding="utf-8")
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
        "GLOO_SOCKET_IFNAME": LOOPBACK,  # whatever the machine's name resolves to
        "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its stack in the log
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),  # a user's reward is found there too
        "RERE_PARENT": str(os.getpid()),
        PROGRESS: str(shown),
    }
    command = [sys.executable, "-m", "rere.runtime.launch", module, str(place), str(processes)]
    with printed.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            seen, told = 0, 0
            while child.poll() is None:
                time.sleep(POLL_SECONDS)
                seen, told = _relay(records, seen, log), _show(shown, told)
            _relay(records, seen, log)
            _show(shown, told)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    if child.returncode:
        raise _failure(_error_file(place), printed, processes, child.returncode)


def _relay(records: Path, seen: int, log: Log | None) -> int:
    """Hand on the whole lines from byte `seen`; returns where they end."""
    if log is None or not records.exists():
        return seen
    with records.open("rb") as file:
        file.seek(seen)
        fresh = file.read()
    whole = fresh[: fresh.rfind(b"\n") + 1]
    for line in whole.splitlines():
        update, record = json.loads(line)
        log(record, update)
    return seen + len(whole)


def _show(progress: Path, told: int) -> int:
    """Print the lines of the first process's progress from character `told`; returns where they end."""
    if not progress.exists():
        return told
    text = progress.read_text(encoding="utf-8")
    sys.stderr.write(text[told:])
    sys.stderr.flush()
    return len(text)


def _failure(reason: Path, printed: Path, processes: int, status: int) -> RereError:
    """What the worker that failed first has to say; a user's mistake in its own words."""
    said: list[str] = json.loads(reason.read_text(encoding="utf-8")) if reason.exists() else []
    if len(said) == 3:
        return RereError(*said)
    why = said[0] if said else f"torchrun {_killed_by(-status) if status < 0 else f'ended with exit status {status}'}"
    lines = [line for line in printed.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    shown = "".join(f"\n  {line[:SHOWN_WIDTH]}" for line in lines[-SHOWN_LINES:]) or " nothing"
    return RereError(
        f"{processes} processes that finish",
        f"{why}. The last that they printed ({printed}):{shown}\n",
        "see above; then run again: a training goes on from its last checkpoint, with any number of processes",
    )


def _killed_by(number: int) -> str:
    """Only the kernel, short of memory, and people send SIGKILL; other signals tell of themselves."""
    return f"killed by {signal.Signals(number).name}" + (" (out of memory?)" if number == signal.SIGKILL else "")


def _error_file(spec: Path) -> Path:
    return spec.with_suffix(".error.json")


# ---------------------------------------------------------------- the workers' side


def work(worker: Callable[[dict[str, Any], Log], None]) -> NoReturn:
    """Join the process group, call `worker(spec, log)`, and leave; the first error to happen is kept for the parent."""
    _die_with_parent()
    spec = Path(sys.argv[1])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if os.environ["RANK"] != "0":
        os.environ[PROGRESS] = os.devnull
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        worker(json.loads(spec.read_text(encoding="utf-8")), _recorder(spec.with_suffix(".jsonl")))
        distributed.barrier()
        dist.destroy_process_group()
    except Exception as error:
        plain = f"{type(error).__name__} in process {os.environ['RANK']}: {error}"
        said = error.parts if isinstance(error, RereError) else (plain,)
        try:
            with _error_file(spec).open("x", encoding="utf-8") as file:
                json.dump(said, file)
            traceback.print_exc()
        except FileExistsError:  # another process failed before, most likely the cause of this
            print(plain)
        _leave(1)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """Exit without taking the interpreter down.

    Threads of gloo outlive `destroy_process_group` where someone holds a group (FSDP does). One that lets go of a
    tensor while the interpreter goes down aborts the process (pytorch/pytorch#190489), though its work is done.
    """
    atexit._run_exitfuncs()  # temporary directories, logs
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _recorder(records: Path) -> Log:
    def log(record: dict[str, float], update: int) -> None:
        if distributed.is_main():
            with records.open("a", encoding="utf-8") as file:
                file.write(json.dumps([update, record]) + "\n")

    return log


def _die_with_parent() -> None:
    """No process is left behind when its parent is killed (Linux), be it before this call."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
    if os.getppid() != int(os.environ["RERE_PARENT"]):
        sys.exit("the parent is gone")


def _main() -> None:
    """torchrun, between the parent and the workers."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    _die_with_parent()
    os.environ["RERE_PARENT"] = str(os.getpid())  # the workers'
    module, spec, processes = sys.argv[1:]
    try:
        torchrun(["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", "-m", module, spec])
    except ChildFailedError as error:
        # One that was killed is the cause, whatever the others said when they lost it; SIGTERM is torchrun's own.
        for place, failure in error.failures.items():
            if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
                said = f"process {place} {_killed_by(-failure.exitcode)}"
                _error_file(Path(spec)).write_text(json.dumps([said]), encoding="utf-8")
        sys.exit(1)  # the log's last words are the workers'


if __name__ == "__main__":
    _main()
