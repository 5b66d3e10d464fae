"""A study from its beginning, or from where it was killed, to its last trial."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial

from rere.errors import RereError
from rere.runtime.launch import Exchange, ended
from rere.runtime.lease import Held, Lease
from rere.runtime.threads import threads_each
from rere.tuning.study import INPUTS, JOURNAL, StudySpec, open_study, queue_interrupted
from rere.tuning.trial import TrialInputs

POLL_SECONDS = 1.0
logger = logging.getLogger(__name__)
Watch = Callable[[Sequence[FrozenTrial]], None]


def run_study(directory: Path, spec: StudySpec, inputs: TrialInputs, watch: Watch) -> Study:
    """Let `spec.config.processes` processes do what trials are missing; trials that are over stay as they are.

    Args:
        directory: of this study alone: of its data, settings and space.
        watch: called with all trials before any is run, now and then, and at the end.

    Raises:
        RereError: another process is at this study; its record can't be read; the first trials all fail; a process that
            ended with an error.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise RereError(
            "a directory for studies",
            f"a file where {directory} or one above it is to be",
            "move the file away, or set RERE_STUDIES_DIR to another directory",
        ) from None
    with ExitStack() as held:
        lease = Lease(directory.with_name(f"{directory.name}.lock"))
        try:
            lease.take()
        except Held as other:
            raise RereError(
                f"no other run of the same study ({directory})",
                f"one that is under way: {other.holder or 'another process'}",
                "wait until it has ended, or name another `tuning.study`",
            ) from None
        held.callback(lease.release)
        mend_journal(directory / JOURNAL)
        study = open_study(directory, spec)
        queue_interrupted(study, spec)
        spec.save(directory)
        inputs.save(directory / INPUTS)
        watch(study.get_trials(deepcopy=False))
        try:
            _work_together(directory, spec.config.processes, lambda: watch(study.get_trials(deepcopy=False)))
        finally:  # also what failed is to be seen
            watch(study.get_trials(deepcopy=False))
        return study


def mend_journal(journal: Path) -> None:
    """Take away a line that was cut off while it was written (a crash, a full disk); nobody may be at work.

    Raises:
        RereError: an earlier line can't be read.
    """
    if not journal.is_file():
        return
    whole = journal.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    for number, line in enumerate(kept.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError:
            raise RereError(
                f"a study's record that can be read ({journal})",
                f"line {number}, which isn't JSON",
                "restore the file, or move its directory away: the study then begins anew",
            ) from None
    if kept != whole:
        with journal.open("r+b") as file:
            file.truncate(len(kept))
        logger.warning("The last line of %s was cut off while it was written: it is taken away.", journal)


def _work_together(directory: Path, processes: int, look: Callable[[], None]) -> None:
    exchange = Exchange(directory)
    exchange.error.unlink(missing_ok=True)
    environment = {
        **os.environ,
        **threads_each(processes),
        "PYTHONPATH": os.pathsep.join(sys.path),  # a user's reward is found there too
        "RERE_PARENT": str(os.getpid()),
    }
    command = [sys.executable, "-m", "rere.tuning.worker", str(directory)]
    with exchange.printed.open("w", encoding="utf-8") as output:
        workers = [
            subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            for _ in range(processes)
        ]
        try:
            while any(worker.poll() is None for worker in workers) and not any(worker.poll() for worker in workers):
                time.sleep(POLL_SECONDS)
                look()
        finally:
            for worker in workers:
                if worker.poll() is None:  # another one failed, or this process is to stop
                    worker.terminate()
            for worker in workers:
                worker.wait()
    if failed := [worker.returncode for worker in workers if worker.returncode]:
        raise exchange.failure(f"{processes} processes that finish", f"one {ended(failed[0])}")
