"""A process that takes one trial after the other until a study has enough: `python -m rere.tuning.worker DIRECTORY`."""

from __future__ import annotations

import shutil
import sys
import traceback
from pathlib import Path

import torch
from filelock import FileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from rere.artifacts.manifest import disk_problem, writing
from rere.config.tuning import STAGES, Stage
from rere.errors import RereError
from rere.runtime.launch import Exchange, die_with_parent
from rere.tuning.space import changed, values_of
from rere.tuning.study import (
    CONFIRMED,
    FAILURES,
    INPUTS,
    PROBLEM,
    REPEATS,
    StudySpec,
    counts,
    interrupted,
    next_trial,
    open_study,
    parameters_key,
    same_before,
)
from rere.tuning.trial import TrialInputs, TrialSettings, run_trial

LOCKS = "locks"  # by settings
APART = 1_000  # more than validations of one stage differ by
MOST_STEPS = 10_000_000  # of a stage


class Pruned(Exception):
    """A trial that is worse than others were at this point."""


def work(directory: Path) -> None:
    """Take part in the study there, until it has as many trials as wanted.

    Raises:
        RereError: the first trials all fail; the disk is full.
    """
    spec = StudySpec.load(directory)
    inputs = TrialInputs.load(directory / INPUTS, spec.start_model)
    with writing(directory):
        study = open_study(directory, spec)
        (directory / LOCKS).mkdir(exist_ok=True)
        while (trial := next_trial(study, spec, directory)) is not None:
            key = parameters_key(trial.params)
            # The same settings in two processes: the second takes over the outcome.
            with FileLock(directory / LOCKS / key):
                _run(study, trial, spec, inputs, directory / "trials" / key)


def _run(study: Study, trial: Trial, spec: StudySpec, inputs: TrialInputs, directory: Path) -> None:
    """One trial from its settings to what became of it."""
    before = same_before(study.get_trials(deepcopy=False), trial)
    if before is not None:
        trial.set_user_attr(REPEATS, before.number)
        trial.set_user_attr(CONFIRMED, before.user_attrs.get(CONFIRMED))
        study.tell(trial, before.value if before.state == TrialState.COMPLETE else None, before.state)
        return
    values = values_of(spec.config.space, trial.params)
    known = _shown_before(study, trial)
    for step, value in known.items():
        trial.report(value, step)

    def report(stage: Stage, step: int, value: float) -> None:
        told, at = comparable(stage, spec.config.stage, step, value)
        if at not in known:
            trial.report(told, at)
        if spec.config.prunes(stage) and trial.should_prune():
            raise Pruned

    try:
        directory.mkdir(parents=True, exist_ok=True)
        settings = TrialSettings.model_validate(changed(spec.settings, values))
        judged = run_trial(settings, inputs, spec.config, directory, report)
    except Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    except Exception as error:
        # A fault of the machine's is no trial's: it goes on in the next run.
        if isinstance(error, OSError) or disk_problem(error, directory):
            raise
        traceback.print_exc()
        trial.set_user_attr(PROBLEM, problem_of(error))
        study.tell(trial, state=TrialState.FAIL)
        _require_one_that_works(study, error)
    else:
        trial.set_user_attr(CONFIRMED, judged.confirmed)
        study.tell(trial, judged.chosen_by)
    shutil.rmtree(directory, ignore_errors=True)


def problem_of(error: Exception) -> str:
    """What a trial failed by, in words: those of a RereError are written for people."""
    return str(error) if isinstance(error, RereError) else f"{type(error).__name__}: {error}".removesuffix(": ")


def _shown_before(study: Study, trial: Trial) -> dict[int, float]:
    """Step -> value: what trials of the same settings had reported when their process ended.

    The trial goes on from their checkpoint, so it reports only what comes after: without these the pruner would see
    less of it than of others.
    """
    found: dict[int, float] = {}
    for one in study.get_trials(deepcopy=False):
        if interrupted(one) and one.params == trial.params:
            found |= one.intermediate_values
    return found


def comparable(stage: Stage, last: Stage, step: int, value: float) -> tuple[float, int]:
    """A validation on the one scale that a trial has: (value, step).

    The pruner compares the best that a trial has shown so far; so whatever a later stage shows is above all that an
    earlier one does, and its steps come after the earlier one's.
    """
    return value - APART * (STAGES.index(last) - STAGES.index(stage)), STAGES.index(stage) * MOST_STEPS + step


def validations(trial: FrozenTrial, last: Stage) -> list[tuple[Stage, int, float]]:
    """What a trial has reported, in order of steps: stage, step, value (higher is better)."""
    found: list[tuple[Stage, int, float]] = []
    for number, value in sorted(trial.intermediate_values.items()):
        position, step = divmod(number, MOST_STEPS)
        found.append((STAGES[position], step, value + APART * (STAGES.index(last) - position)))
    return found


def _require_one_that_works(study: Study, error: Exception) -> None:
    counted = [trial.state for trial in study.get_trials(deepcopy=False) if counts(trial)]
    if counted.count(TrialState.FAIL) >= FAILURES and not {TrialState.COMPLETE, TrialState.PRUNED} & {*counted}:
        if isinstance(error, RereError):
            expected, got, remedy = error.parts
        elif isinstance(error, torch.OutOfMemoryError | MemoryError):
            expected, got, remedy = "memory for a trial", problem_of(error), "use smaller batches, or fewer `processes`"
        else:
            expected, got = "a trial that can be trained", problem_of(error)
            remedy = "correct the settings or your own code; the study's `processes.log` has where it came from"
        raise RereError(expected, f"{got}, as in all trials so far", remedy)


def main(directory: Path) -> int:
    """Exit status; the first error is kept for the process that started this one."""
    die_with_parent()
    try:
        work(directory)
    except Exception as error:
        Exchange(directory).keep(error, "a trial's process")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
