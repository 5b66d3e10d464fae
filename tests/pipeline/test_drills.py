"""kill -9 of the real pipeline and of a promotion at every boundary, then again: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline import promotion_victim
from tests.pipeline.conftest import Project

pytestmark = pytest.mark.pipeline
PATIENCE = 240  # seconds, on a busy machine
UPDATES = 8

STATE = """
import json, mlflow
from zenml.client import Client
from steps import champion
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


def state(project: Project, name: str) -> list:
    """MLflow's versions and aliases, ZenML's versions with their stages, the log and its copies."""
    return json.loads(project.ask(STATE.replace("NAME", name)))


def test_a_killed_pipeline_goes_on_and_registers_once(
    smoke_run: subprocess.CompletedProcess[str], project: Project
) -> None:
    """Killed while it reinforces; fine-tuning comes from the cache then, and RL from its checkpoint."""
    smoke = (project.root / "configs" / "smoke.yaml").read_text(encoding="utf-8")
    assert "updates: 4" in smoke
    assert "rere-smoke" in smoke
    longer = smoke.replace("updates: 4", f"updates: {UPDATES}").replace("rere-smoke", "rere-killed")
    config = project.config("killed", longer)
    work = project.root / ".rere" / "work"
    assert not list(work.glob("rl-*"))
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("zenml")), "pipeline", "run", "rere_pipeline", "-c", config],
        cwd=project.root,
        env={**os.environ, **project.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not list(work.glob("rl-*/progress/manifest.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (left,) = work.glob("rl-*")
    done = json.loads((left / "progress" / "progress.json").read_text(encoding="utf-8"))["update"]
    assert 0 < done <= UPDATES
    assert state(project, "rere-killed") == [[], {}, [], [], []]  # nothing half-registered

    again = project.run_pipeline(config)
    assert again.returncode == 0, again.stdout[-4000:]
    assert "Using cached version of step `sft`." in again.stdout
    assert not left.exists()  # it was this very directory that the run went on in
    code = """
import json, mlflow
from zenml.client import Client
updates = Client().get_artifact_version("rere_model").run_metadata["training"]["updates"]
client = mlflow.MlflowClient()
places = [e.experiment_id for e in client.search_experiments()]
runs = client.search_runs(places, order_by=["attributes.start_time DESC"])
steps = next(h for run in runs if (h := [m.step for m in client.get_metric_history(run.info.run_id, "rl/reward")]))
print(json.dumps([updates, steps]))
"""
    assert json.loads(project.ask(code)) == [UPDATES, list(range(done + 1, UPDATES + 1))]
    versions, aliases, theirs, _, _ = state(project, "rere-killed")
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
        {"challenger": "1", "champion": "1"},
        [["v1", "production"]],
        [["promote", "1"]],
        ["event.000001"],
    ]
