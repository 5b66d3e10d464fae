"""A process that takes one trial after the other until a study has enough: `python -m rere.tuning.worker DIRECTORY`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

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
    next_trial,
    open_study,
    parameters_key,
    same_before,
)
from rere.tuning.trial import TrialInputs, TrialSettings, run_trial

APART = 1_000  # more than validations of one stage differ by
MOST_STEPS = 10_000_000  # of a stage


class Pruned(Exception):
    """A trial that is worse than others were at this point."""


def work(directory: Path) -> None:
    """Take part in the study there, until it has as many trials as wanted.

    Raises:
        RereError: the first trials all fail.
    """
    spec = StudySpec.load(directory)
    study = open_study(directory, spec)
    inputs = TrialInputs.load(directory / INPUTS, spec.start_model)
    while (trial := next_trial(study, spec, directory)) is not None:
        _run(study, trial, spec, inputs, directory / "trials" / parameters_key(trial.params))


def _run(study: Study, trial: Trial, spec: StudySpec, inputs: TrialInputs, directory: Path) -> None:
    """One trial from its settings to what became of it."""
    before = same_before(study.get_trials(deepcopy=False), trial)
    if before is not None:
        trial.set_user_attr(REPEATS, before.number)
        trial.set_user_attr(CONFIRMED, before.user_attrs.get(CONFIRMED))
        study.tell(trial, before.value if before.state == TrialState.COMPLETE else None, before.state)
        return
    values = values_of(spec.config.space, trial.params)

    def report(stage: Stage, step: int, value: float) -> None:
        trial.report(*comparable(stage, spec.config.stage, step, value))
        if spec.config.prunes(stage) and trial.should_prune():
            raise Pruned

    try:
        directory.mkdir(parents=True, exist_ok=True)
        settings = TrialSettings.model_validate(changed(spec.settings, values))
        judged = run_trial(settings, inputs, spec.config, directory, report)
    except Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (RereError, torch.OutOfMemoryError) as error:
        trial.set_user_attr(PROBLEM, str(error))
        study.tell(trial, state=TrialState.FAIL)
        _require_one_that_works(study, error)
    else:
        trial.set_user_attr(CONFIRMED, judged.confirmed)
        study.tell(trial, judged.chosen_by)
    shutil.rmtree(directory, ignore_errors=True)


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
        given = (
            error.parts if isinstance(error, RereError) else ("memory for a trial", str(error), "use smaller batches")
        )
        raise RereError(given[0], f"{given[1]}, as in all trials so far", given[2])


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
