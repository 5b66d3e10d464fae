"""kill -9 of the real pipeline and of a promotion at every boundary, then again: nothing lost, nothing twice."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.pipeline import promotion_victim
from tests.pipeline.conftest import Project

pytestmark = pytest.mark.pipeline
UPDATES = 4  # of RL, in configs/smoke.yaml

STATE = """
import json, mlflow
from zenml.client import Client
from ops.registry import champion
name = "NAME"
client = mlflow.MlflowClient()
found = client.search_registered_models(f"name='{name}'")
aliases = {alias: str(version) for alias, version in (found[0].aliases if found else {}).items()}
versions = sorted(str(v.version) for v in client.search_model_versions(f"name='{name}'"))
models = Client().list_models(name=f"equals:{name}").items
theirs = [[v.name, v.stage] for m in models for v in Client().list_model_versions(m.id, hydrate=True).items]
log = [[event.action, event.version] for event in champion.events(name)]
known = [key for version, _ in theirs for key in Client().get_model_version(name, version).run_metadata]
copies = [".".join(key.split(".")[:2]) for key in known if key.startswith("event.")]
print(json.dumps([versions, aliases, sorted(theirs), log, copies]))
"""


def state(project: Project, name: str) -> list[Any]:
    """MLflow's versions and aliases, ZenML's versions with their stages, the log and its copies."""
    return json.loads(project.ask(STATE.replace("NAME", name)))


def test_a_killed_pipeline_goes_on_and_registers_once(
    killed_run: dict[str, Any], smoke_run: subprocess.CompletedProcess[str], project: Project
) -> None:
    """It was killed while it reinforced: fine-tuning came from the cache then, and RL went on from its checkpoint."""
    for step in ("ingest", "validate", "split", "index_items", "sft"):
        assert f"Using cached version of step `{step}`." in smoke_run.stdout, step
    assert "Using cached version of step `rl`." not in smoke_run.stdout
    assert not killed_run["left"].exists()  # it was this very directory that the second run worked in
    code = """
import json, mlflow
client = mlflow.MlflowClient()
places = [e.experiment_id for e in client.search_experiments()]
runs = client.search_runs(places, order_by=["attributes.start_time ASC"])
steps = [[m.step for m in client.get_metric_history(run.info.run_id, "rl/reward")] for run in runs]
print(json.dumps([found for found in steps if found]))
"""
    before, *after = json.loads(project.ask(code))
    assert max(before) in (killed_run["update"], killed_run["update"] + 1)  # the last one may not be in a checkpoint
    # The second run's record is whole: the updates before the kill are told there once more, each update once. So is
    # that of a later run, where RL came from the cache.
    assert after
    assert all(sorted(steps) == list(range(1, UPDATES + 1)) for steps in after)
    versions, aliases, theirs, _, _ = state(project, "rere-smoke")
    assert (versions, [name for name, _ in theirs]) == (["1"], ["v1"])
    assert aliases["challenger"] == "1"


def test_a_promotion_killed_at_every_boundary_ends_as_one(
    smoke_run: subprocess.CompletedProcess[str], project: Project
) -> None:
    shutil.copy2(promotion_victim.__file__, project.root / "promotion_victim.py")
    done = project.run("python", "promotion_victim.py")
    said = [line for line in done.stdout.splitlines() if line.endswith(" killed") or line.startswith("end ")]
    assert said == [*(f"{name} killed" for name in promotion_victim.BOUNDARIES), "end 0"], done.stdout[-4000:]
    assert state(project, promotion_victim.NAME) == [
        ["1"],
        {"anchor": "1", "challenger": "1", "champion": "1"},
        [["v1", "production"]],
        [["promote", "1"]],
        ["event.000001"],
    ]
