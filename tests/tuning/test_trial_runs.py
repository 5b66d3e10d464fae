"""A study's trials in MLflow: none is lost or left open, whenever the process that logs them was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from ops.runtime.trials import TrialRuns
from rere.config.tuning import TuningConfig
from rere.tuning.space import distributions
from rere.tuning.study import CONFIRMED, StudySpec, open_study, queue_interrupted
from rere.tuning.worker import comparable

NAME = "sft.learning_rate"
CONFIG = TuningConfig.model_validate({"trials": 9, "space": {NAME: {"type": "float", "low": 0.001, "high": 0.01}}})
SPEC = StudySpec(config=CONFIG, settings={}, start_model=None, start=None)


@pytest.fixture
def tracked(tmp_path: Path) -> Iterator[None]:
    """An empty tracking store, and a run in it as the pipeline's."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("t", artifact_location=str(tmp_path / "artifacts")))
    with mlflow.start_run():
        yield
    mlflow.set_tracking_uri(before)


def look(study: Study, runs: TrialRuns | None = None) -> TrialRuns:
    """What `run_study` does again and again; a new process begins without `runs`."""
    runs = runs or TrialRuns(CONFIG, "study-1")
    runs(study.get_trials(deepcopy=False))
    return runs


def found() -> dict[int, list[Any]]:
    """Trial -> status and outcome in MLflow, its validation losses, and its score."""
    client = mlflow.MlflowClient()
    experiments = [one.experiment_id for one in client.search_experiments()]
    every = client.search_runs(experiments, "tags.trial != ''")
    assert len({run.data.tags["trial"] for run in every}) == len(every)
    return {
        int(run.data.tags["trial"]): [
            run.info.status,
            run.data.tags.get("outcome"),
            [point.value for point in client.get_metric_history(run.info.run_id, "sft/valid_loss")],
            run.data.metrics.get("validation/ndcg_at_10"),
        ]
        for run in every
    }


def test_what_happened_around_a_kill_is_logged_by_the_next_run(tmp_path: Path, tracked: None) -> None:
    study = open_study(tmp_path, SPEC)
    space = distributions(CONFIG.space)
    first, second = study.ask(space), study.ask(space)
    first.report(*comparable("sft", "sft", 1, -7.0))
    look(study)
    assert found() == {0: ["RUNNING", None, [7.0], None], 1: ["RUNNING", None, [], None]}

    # Before it looks again it is killed; the first trial has ended by then, the second hasn't, a third came and went.
    first.report(*comparable("sft", "sft", 2, -6.0))
    first.set_user_attr(CONFIRMED, 0.4)
    study.tell(first, 0.5)
    study.tell(study.ask(space), state=TrialState.PRUNED)
    second.report(*comparable("sft", "sft", 1, -8.0))
    queue_interrupted(study, SPEC)
    runs = look(study)
    ended = {
        0: ["FINISHED", "judged", [7.0, 6.0], 0.5],
        1: ["KILLED", "interrupted", [8.0], None],
        2: ["FINISHED", "pruned", [], None],
    }
    assert found() == ended
    look(study, runs)
    look(study)
    assert found() == ended


def test_a_study_that_begins_anew_is_logged_anew(tmp_path: Path, tracked: None) -> None:
    """Its directory was deleted: runs of the old one don't stand for trials of the same number."""
    client = mlflow.MlflowClient()
    run = mlflow.active_run()
    assert run is not None
    tags = {"study": "study-1", "trial": "0"}
    old = client.create_run(run.info.experiment_id, start_time=1, tags=tags).info.run_id
    study = open_study(tmp_path, SPEC)
    study.tell(study.ask(distributions(CONFIG.space)), 0.5)
    look(study)
    assert client.get_run(old).info.status == "KILLED"
    client.delete_run(old)
    assert found() == {0: ["FINISHED", "judged", [], 0.5]}
