"""A study on disk: what its trials are, what comes next, what became of each. Several processes may work at one.

Its directory holds Optuna's journal, the inputs that all trials share, and a directory per trial that is under way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import BaseModel, ConfigDict

from rere.artifacts.manifest import fingerprint
from rere.config.tuning import TuningConfig
from rere.tuning.space import distributions

JOURNAL, SPEC, TURN, INPUTS = "journal.log", "spec.json", "turn.lock", "inputs"
NAME = "study"  # of the one study of a journal
PROBLEM = "problem"  # what a trial's settings failed by
CONFIRMED = "confirmed"  # the metric on the other half of the validation users
REPEATS = "repeats"  # the number of an earlier trial of the same settings, whose outcome this one took over
DEATHS = 3  # of a trial's process, until its settings aren't tried again
FAILURES = 3  # first trials that all fail: then it isn't for the tried settings


class StudySpec(BaseModel):
    """What the workers of a study are told.

    settings: the run's, plain values by stage
    start_model: directory of the one that all trials share, see `TrialInputs`
    start: the settings as they stand, in Optuna's words: the first trial; None where they lie outside of the space
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: TuningConfig
    settings: dict[str, Any]
    start_model: Path | None
    start: dict[str, Any] | None

    def save(self, directory: Path) -> None:
        (directory / SPEC).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> StudySpec:
        return cls.model_validate_json((directory / SPEC).read_text(encoding="utf-8"))


def open_study(directory: Path, spec: StudySpec) -> Study:
    """The study in a directory that is there, or a new one; its first trial is to be the settings as they stand."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(directory / JOURNAL)))
    pruner = _pruner(spec.config)
    study = optuna.create_study(
        study_name=NAME, storage=storage, pruner=pruner, direction="maximize", load_if_exists=True
    )
    if spec.start is not None and not study.get_trials(deepcopy=False):
        study.enqueue_trial(spec.start)
    return study


def queue_interrupted(study: Study, spec: StudySpec) -> int:
    """Let what dead processes were at be tried again; returns how many trials that is.

    Nobody may be at work: what runs is then dead. Settings whose process died for the third time (of memory, perhaps)
    are left, so that they don't keep the study from going on.
    """
    trials = study.get_trials(deepcopy=False)
    died, again = [trial.params for trial in trials if interrupted(trial)], 0
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        first = spec.start if trial.number == 0 and spec.start is not None else {}
        if died.count(trial.params) < DEATHS - 1:
            again += 1
            study.enqueue_trial({**first, **trial.params})  # of one that died while it was asked for, some are missing
        study.tell(trial.number, state=TrialState.FAIL)
    return again


def next_trial(study: Study, spec: StudySpec, directory: Path) -> Trial | None:
    """The next trial, or None when there are as many as wanted. One process at a time asks."""
    with FileLock(directory / TURN):
        trials = study.get_trials(deepcopy=False)
        if sum(map(counts, trials)) >= spec.config.trials:
            return None
        study.sampler = _sampler(spec.config, len(trials))
        return study.ask(distributions(spec.config.space))


def counts(trial: FrozenTrial) -> bool:
    """Whether it is one of those that were wanted: not waiting, and not one that another one goes on with."""
    return trial.state != TrialState.WAITING and not interrupted(trial)


def interrupted(trial: FrozenTrial) -> bool:
    """Whether its process ended before it did."""
    return trial.state == TrialState.FAIL and PROBLEM not in trial.user_attrs


def same_before(trials: Sequence[FrozenTrial], trial: FrozenTrial | Trial) -> FrozenTrial | None:
    """An earlier trial of the very same settings that is over."""
    over = (TrialState.COMPLETE, TrialState.PRUNED)
    return next(
        (one for one in trials if one.number < trial.number and one.state in over and one.params == trial.params), None
    )


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The one with the highest metric, the earliest of equal ones; None where none was judged."""
    judged = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(judged, key=lambda trial: (trial.value, -trial.number), default=None)


def parameters_key(parameters: dict[str, Any]) -> str:
    """Names a trial's directory: the same settings go on in the same one."""
    return fingerprint({"parameters": json.dumps(parameters, sort_keys=True)})[:16]


def _pruner(config: TuningConfig) -> BasePruner:
    return NopPruner() if config.pruning is None else MedianPruner(config.pruning.startup_trials)


def _sampler(config: TuningConfig, trials: int) -> BaseSampler:
    """Seeded anew for every trial, so that a study that goes on draws as one that was never interrupted."""
    seed = int(np.random.SeedSequence((config.seed, trials)).generate_state(1)[0])
    return RandomSampler(seed) if config.sampler == "random" else TPESampler(seed=seed)
