"""The result of a study: a row per trial, the best trial and its settings, and how much each setting mattered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from rere.errors import RereError
from rere.tuning.importance import Importance, importances
from rere.tuning.space import changed, values_of
from rere.tuning.study import CONFIRMED, PROBLEM, REPEATS, StudySpec, best_trial, counts, interrupted

OUTCOMES = {TrialState.COMPLETE: "judged", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class StudyResult:
    """A study that is over.

    trials: a row per trial: number, outcome (judged, pruned, failed), value (the metric on the half that chooses; NaN
        unless judged), confirmed (on the other half), minutes, note, and per dotted name
        the setting's value (of choices as JSON)
    best: the best trial's row number; first: that of the settings as they stand, None where the space leaves them out
    importance: how much of the metric's variation each setting explains, largest first; empty with few trials
    interrupted: trials whose process ended, which another trial went on with
    """

    spec: StudySpec
    trials: pd.DataFrame
    best: int
    first: int | None
    importance: dict[str, Importance]
    interrupted: int

    def count(self, outcome: str) -> int:
        return int((self.trials["outcome"] == outcome).sum())

    def values(self, row: int) -> dict[str, Any]:
        """Values of settings by dotted name."""
        chosen = {name: self.trials[name].iloc[row] for name in self.spec.config.space}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in chosen.items()}
        return values_of(self.spec.config.space, plain)

    def best_settings(self) -> dict[str, Any]:
        """The run's settings with the best trial's values, plain, by stage."""
        return changed(self.spec.settings, self.values(self.best))

    def configuration(self) -> str:
        """A run configuration of `rere_pipeline` with the best settings; above it, where they come from."""
        config, best = self.spec.config, self.trials.iloc[self.best]
        head = [
            f"The best of {len(self.trials)} trials of the study {config.study!r}: trial {best['number']}, "
            f"{config.metric} {best['value']:.4f} on validation rows ({self.gain()}).",
            *(f"  {name}: {value!r}" for name, value in self.values(self.best).items()),
            "zenml pipeline run rere_pipeline -c THIS_FILE",
        ]
        said = "".join(f"# {line}\n" for line in head)
        parameters = {"parameters": self.best_settings()}
        return said + yaml.safe_dump(parameters, sort_keys=False, width=110, allow_unicode=True)

    def gain(self) -> str:
        """The best against the settings as they stand, on both halves of the validation users."""
        if self.first is None:
            return "the space leaves out the settings as they stand"
        if self.first == self.best:
            return "the settings as they stand are the best"
        best, first = self.trials.iloc[self.best], self.trials.iloc[self.first]
        said = f"{best['value'] - first['value']:+.4f} over the settings as they stand"
        if pd.isna(best["confirmed"]) or pd.isna(first["confirmed"]):
            return said
        return f"{said}, {best['confirmed'] - first['confirmed']:+.4f} on the other half of the users"


def result_of(study: Study, spec: StudySpec) -> StudyResult:
    """Read a study.

    Raises:
        RereError: no trial was judged.
    """
    every = study.get_trials(deepcopy=False)
    trials = [trial for trial in every if counts(trial) and trial.state in OUTCOMES]
    best = best_trial(trials)
    if best is None:
        problems = [trial.user_attrs[PROBLEM] for trial in trials if PROBLEM in trial.user_attrs]
        raise RereError(
            "a trial that is judged",
            f"{len(trials)} that failed" + (f", the last one by: {problems[-1]}" if problems else ""),
            "correct the settings, or their space",
        )
    first = next((n for n, trial in enumerate(trials) if trial.params == spec.start and trial.value is not None), None)
    return StudyResult(
        spec=spec,
        trials=_table(trials, spec),
        best=trials.index(best),
        first=first if first is not None and trials[first].state == TrialState.COMPLETE else None,
        importance=importances([one for one in trials if one.state == TrialState.COMPLETE], spec.config.seed),
        interrupted=sum(map(interrupted, every)),
    )


def _table(trials: Sequence[FrozenTrial], spec: StudySpec) -> pd.DataFrame:
    rows = []
    for trial in trials:
        judged = trial.state == TrialState.COMPLETE
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        said = trial.user_attrs.get(PROBLEM, "")
        if trial.state == TrialState.PRUNED:
            said = f"below the median at validation {len(trial.intermediate_values)}"
        if REPEATS in trial.user_attrs:
            said = f"the settings of trial {trial.user_attrs[REPEATS]}"
        facts = {
            "number": trial.number,
            "outcome": OUTCOMES[trial.state],
            "value": trial.value if judged else None,
            "confirmed": trial.user_attrs.get(CONFIRMED),
            "minutes": round(seconds / 60, 2),
            "note": said.partition("\n")[0],  # of a process's failure the log follows
        }
        rows.append(facts | trial.params)
    table = pd.DataFrame(rows, columns=[*facts, *spec.config.space])
    return table.astype({"value": float, "confirmed": float})
