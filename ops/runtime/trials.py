"""The trials of a study as MLflow runs below the pipeline's: settings, validations as they come, outcomes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from optuna.trial import FrozenTrial, TrialState

from ops.runtime.tracking import PARAMS_AT_ONCE, metric_name
from rere.config.tuning import TuningConfig
from rere.tuning.result import OUTCOMES
from rere.tuning.study import CONFIRMED, PROBLEM, interrupted
from rere.tuning.worker import validations

NDCG = ("valid_ndcg@10", 1.0)
MOST_RUNS = 50_000  # of a study: as many as MLflow gives at once
VALIDATIONS = {"sft": ("valid_loss", -1.0), "preference": NDCG, "rl": NDCG, "item_models": NDCG}
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "FINISHED", TrialState.FAIL: "FAILED"}


class TrialRuns:
    """Follows a study: called with its trials as they were before this pipeline run, then as often as you like.

    Trials of earlier pipeline runs have their MLflow runs below those; no trial is without one, whenever a process was
    killed.

    Args:
        study: its name, which no other one has; a tag of all its runs.
    """

    def __init__(self, config: TuningConfig, study: str) -> None:
        parent = mlflow.active_run()
        assert parent is not None  # `require_tracker` was asked before
        self.config, self.study = config, study
        self.client, self.parent = mlflow.MlflowClient(), parent.info
        self.over: set[int] | None = None  # numbers
        self.runs: dict[int, str] = {}
        self.logged: dict[int, int] = {}  # validations

    def __call__(self, trials: Sequence[FrozenTrial]) -> None:
        if self.over is None:
            self.over = self._take_up(trials)
        for trial in trials:
            if trial.number in self.over or trial.state == TrialState.WAITING:
                continue
            if trial.params.keys() != self.config.space.keys():
                continue  # it is being asked for, or its process died meanwhile
            run = self.runs.get(trial.number) or self._opened(trial)
            self._log_validations(trial, run)
            if trial.state.is_finished():
                self._close(trial, run)
                self.over.add(trial.number)

    def _take_up(self, trials: Sequence[FrozenTrial]) -> set[int]:
        """Numbers of the trials whose MLflow runs have their end.

        A run that a killed process left open is to be closed with what became of its trial; a trial that it had no
        time to log gets a run now. Runs that began before the trial of their number are of a study that was deleted.
        """
        began = {trial.number: trial.datetime_start.timestamp() for trial in trials if trial.datetime_start}
        ended: set[int] = set()
        asked = f"tags.study = '{self.study}'"
        for run in self.client.search_runs([self.parent.experiment_id], asked, max_results=MOST_RUNS):
            number, is_open = int(run.data.tags["trial"]), run.info.status == "RUNNING"
            if run.info.start_time / 1000 < began.get(number, math.inf) - 1:
                if is_open:
                    self.client.set_terminated(run.info.run_id, "KILLED")
            elif is_open:
                self.runs[number], self.logged[number] = run.info.run_id, self._logged(run)
            else:
                ended.add(number)
        return ended

    def _logged(self, run: Run) -> int:
        """How many validations an MLflow run has."""
        names = {metric_name(stage, name) for stage, (name, _) in VALIDATIONS.items()} & {*run.data.metrics}
        return sum(len(self.client.get_metric_history(run.info.run_id, name)) for name in names)

    def _opened(self, trial: FrozenTrial) -> str:
        name = f"{self.config.study} {trial.number}"
        tags = {
            MLFLOW_PARENT_RUN_ID: self.parent.run_id,
            MLFLOW_RUN_NAME: name,
            "study": self.study,
            "trial": str(trial.number),
        }
        run = str(self.client.create_run(self.parent.experiment_id, tags=tags, run_name=name).info.run_id)
        named = [Param(metric_name(setting), str(value)) for setting, value in trial.params.items()]
        for start in range(0, len(named), PARAMS_AT_ONCE):
            self.client.log_batch(run, params=named[start : start + PARAMS_AT_ONCE])
        self.runs[trial.number] = run
        return run

    def _log_validations(self, trial: FrozenTrial, run: str) -> None:
        told = validations(trial, self.config.stage)
        fresh = told[self.logged.get(trial.number, 0) :]
        now = round(time.time() * 1000)
        points = []
        for stage, step, value in fresh:
            name, sign = VALIDATIONS[stage]
            points.append(Metric(metric_name(stage, name), sign * value, now, step))
        if points:
            self.client.log_batch(run, metrics=points)
        self.logged[trial.number] = len(told)

    def _close(self, trial: FrozenTrial, run: str) -> None:
        judged = trial.value if trial.state == TrialState.COMPLETE else None
        values = {"validation": judged, CONFIRMED: trial.user_attrs.get(CONFIRMED)}
        outcome = "interrupted" if interrupted(trial) else OUTCOMES[trial.state]
        tags = [RunTag("outcome", outcome)]
        if problem := trial.user_attrs.get(PROBLEM):
            tags.append(RunTag(PROBLEM, problem))
        now = round(time.time() * 1000)
        named = [
            Metric(metric_name(name, self.config.metric), float(value), now, 0)
            for name, value in values.items()
            if value is not None
        ]
        self.client.log_batch(run, metrics=named, tags=tags)
        self.client.set_terminated(run, "KILLED" if outcome == "interrupted" else STATUS[trial.state])
