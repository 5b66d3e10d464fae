"""Tuning by the users' own command: what no trial changes is made once, trials are tracked, the best settings run."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from rere.data.dataset import Dataset
from tests.pipeline.conftest import Project

pytestmark = pytest.mark.pipeline
SPACE = {"rl.beta": {"type": "float", "low": 0.0, "high": 0.1}}
CONFIG = {
    "data": {
        "source": {"type": "tables", "interactions": "world/interactions.csv", "items": "world/items.csv"},
        "k_core": 1,
    },
    "checks": {"minimum_items": 10},
    "windows": {"history_items": 4},
    "catalog": {"backbone": {"type": "scratch", "layers": 1, "width": 32, "heads": 2, "vocabulary": 300}},
    "sft": {"distillation": None, "normalisation": "vocab", "epochs": 1, "batch_tokens": 64, "sequence_items": 8},
    "rl": {"num_generations": 4, "updates": 2, "prompts": 4, "device_batch_prompts": 4, "validate_every": 1},
    "item_models": {"rivals": ["co_occurrence"], "teacher": "co_occurrence", "cross_fit": {"folds": 2}},
    "evaluation": {"beams": 10},
}
TRIALS = """
import json, mlflow
client = mlflow.MlflowClient()
experiments = [one.experiment_id for one in client.search_experiments()]
runs = client.search_runs(experiments, "tags.trial != ''", order_by=["attributes.start_time"])
print(json.dumps([
    [run.data.tags["trial"], run.data.tags["outcome"], "mlflow.parentRunId" in run.data.tags, sorted(run.data.metrics)]
    for run in runs
]))
"""
STEPS = """
import json
from zenml.client import Client
run = Client().list_pipeline_runs(pipeline="tune_pipeline", sort_by="desc:created", size=1, hydrate=True).items[0]
states = {name: step.status.value for name, step in run.steps.items()}
print(json.dumps(states | {"outputs": sorted(run.steps["tune"].outputs)}))
"""


def tuned(project: Project, trials: int) -> str:
    """Run the pipeline; returns what it printed."""
    tuning = {"stage": "rl", "trials": trials, "space": SPACE, "validation_rows": 50}
    config = project.config("tune", yaml.safe_dump({"parameters": {"tuning": tuning, **CONFIG}}))
    done = project.run("zenml", "pipeline", "run", "tune_pipeline", "-c", config)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_a_study_its_trials_and_its_best_settings(
    project: Project, world_dataset: Dataset, world_items: pd.DataFrame
) -> None:
    (project.root / "world").mkdir()
    rows = world_dataset.interactions.drop(columns="period")
    rows["timestamp"] += 1_000_000_000
    rows.to_csv(project.root / "world" / "interactions.csv", index=False)
    world_items.to_csv(project.root / "world" / "items.csv", index=False)
    said = tuned(project, trials=1)
    assert "1 trials judged, 0 pruned, 0 failed. Best: trial 0" in said
    assert "the settings as they stand are the best" in said
    page = next(line.split()[1] for line in said.splitlines() if line.startswith("Tuning:"))
    assert page.endswith("tuning.html")

    assert "2 trials judged" in tuned(project, trials=2)  # one more; the first isn't run again
    runs = json.loads(project.ask(TRIALS))
    assert [run[:3] for run in runs] == [["0", "judged", True], ["1", "judged", True]]
    assert {"rl/valid_ndcg_at_10", "validation/ndcg_at_10", "confirmed/ndcg_at_10"} <= set(runs[0][3])
    steps = json.loads(project.ask(STEPS))
    assert steps["outputs"] == ["best_configuration", "trials", "tuning_report"]
    assert (steps["sft"], steps["tune"]) == ("cached", "completed")

    done = project.run("rere", "check", "-c", "reports/tuned.yaml")
    assert done.returncode == 0, done.stdout
    best = yaml.safe_load((project.root / "reports" / "tuned.yaml").read_text(encoding="utf-8"))["parameters"]
    assert best["rl"]["updates"] == 2
    assert 0 <= best["rl"]["beta"] <= 0.1
