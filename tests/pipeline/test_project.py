"""Commands without an activated environment, from other directories: they find their project and leave no litter."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import patience
from tests.pipeline.conftest import Project, copy_project

NEEDLESS = ("RERE_", "ZENML_", "MLFLOW_")
AS_CI = (
    "CI",
    "GITHUB_ACTIONS",
    "PYTEST_CURRENT_TEST",
)  # with these, MLflow doesn't do what it does on a person's machine


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory to call from; at the end nothing lies in it nor in the home directory."""
    for name in ("elsewhere", "home"):
        (tmp_path / name).mkdir()
    yield tmp_path / "elsewhere"
    assert [path.name for name in ("elsewhere", "home") for path in (tmp_path / name).iterdir()] == []


def call(code: Path, elsewhere: Path, program: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run `python -m PROGRAM` with the code of a project and no variable that says where it is."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(NEEDLESS) and name not in AS_CI
    }
    environment |= {"PYTHONPATH": str(code), "HOME": str(elsewhere.parent / "home"), "NO_COLOR": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=elsewhere,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_a_command_from_elsewhere_asks_its_projects_registry(project: Project, elsewhere: Path) -> None:
    status, said = call(project.root, elsewhere, "commands.main", "versions", "--model", "nobody")
    assert status == 1
    assert said.splitlines()[-1] == (
        "Error: Expected registered versions of nobody; got none. Fix: run `make demo`, or name another by --model"
    )


def test_a_check_from_elsewhere_leaves_the_projects_active_stack_alone(project: Project, elsewhere: Path) -> None:
    kept = project.root / ".zen" / "config.yaml"
    before = kept.read_text(encoding="utf-8")
    config = str(project.root / "configs" / "smoke.yaml")
    status, said = call(project.root, elsewhere, "commands.main", "check", "-c", config)
    assert (status, said.splitlines()[-1].partition(": ")[2].partition(".")[0]) == (0, "the settings are sound"), said
    hub = project.config("hub", "parameters: {catalog: {backbone: {type: hub, id: nobody/nothing}}}\n")
    status, said = call(project.root, elsewhere, "commands.main", "check", "-c", hub, HF_HUB_OFFLINE="1")
    assert (status, "Traceback" in said) == (1, False), said
    assert "Expected a causal language model at nobody/nothing (revision main)" in said
    assert "without a network use `type: directory`" in said
    assert kept.read_text(encoding="utf-8") == before


def test_a_pipeline_from_elsewhere_runs_in_its_project(project: Project, elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text("parameters: {data: {source: {type: tables, interactions: a, items: b}}}\n")
    for command in (["run", "-c", "mine.yaml"], ["retrain", "-c", "mine.yaml"]):
        status, said = call(project.root, elsewhere, "commands.main", *command)
        assert status == 1, said
        assert "Traceback" not in said
        assert str(project.root / "a") in said or "a" in said
    (elsewhere / "mine.yaml").unlink()


def test_a_project_without_a_stack_is_refused(elsewhere: Path, tmp_path: Path) -> None:
    copy_project(tmp_path)
    for command in (["versions"], ["run"], ["serve"], ["retrain", "-c", str(tmp_path / "configs" / "smoke.yaml")]):
        status, said = call(tmp_path, elsewhere, "commands.main", *command)
        assert status == 1, said
        assert "run `make stack` in the project" in said
        assert "Traceback" not in said
    assert not (tmp_path / ".rere").exists()


def test_zenml_without_an_activated_environment_is_refused(tmp_path: Path) -> None:
    copy_project(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NEEDLESS)}
    done = patience.run(
        [str(Path(sys.executable).with_name("zenml")), "pipeline", "run", "rere_pipeline", "-c", "configs/smoke.yaml"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path / "home"), "NO_COLOR": "1"},
    )
    assert done.returncode == 1, done.stdout
    *_, last = done.stdout.strip().splitlines()
    assert last.startswith("Error. Expected a stack with an MLflow experiment tracker")
    assert "got the stack 'default' of " in last
    assert "run `make stack` once and `source .venv/bin/activate` in each new shell, or use `rere run`" in last
    assert "Traceback" not in done.stdout
    assert not (tmp_path / ".rere" / "work").exists()
    assert not (tmp_path / "reports").exists()


GPUS = """
import os, torch
from zenml.client import Client
from zenml.enums import StackComponentType as Kind
from zenml.pipelines.pipeline_definition import Pipeline
from pipelines.rere import rere_pipeline
from rere.errors import RereError

torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
told = []
Pipeline.__call__ = lambda *others, **named: told.append("begins")
client = Client()
store = client.active_stack_model.components[Kind.ARTIFACT_STORE][0]
tracker = client.active_stack_model.components[Kind.EXPERIMENT_TRACKER][0]
there = client.create_stack_component("there", "local_docker", Kind.ORCHESTRATOR, {})
remote = client.create_stack(
    "remote", {Kind.ORCHESTRATOR: there.id, Kind.ARTIFACT_STORE: store.id, Kind.EXPERIMENT_TRACKER: tracker.id}
)
try:
    for stack in (client.active_stack_model.id, remote.id):
        os.environ["ZENML_ACTIVE_STACK_ID"] = str(stack)
        try:
            rere_pipeline.with_options(config_path="gpus.yaml")()
        except RereError as error:
            told.append(str(error))
finally:
    del os.environ["ZENML_ACTIVE_STACK_ID"]
    client.delete_stack(remote.id)
    client.delete_stack_component(there.id, Kind.ORCHESTRATOR)
print(told)
"""


def test_a_run_that_stays_here_finds_too_few_gpus_before_it_begins(project: Project) -> None:
    project.config(
        "gpus",
        "parameters: {data: {source: {type: tables, interactions: a, items: b}}, "
        "rl: {launcher: {type: local, processes: 2}}}\n",
    )
    here, there = ast.literal_eval(project.ask(GPUS))
    assert here == (
        "Expected 2 GPUs, one per process, for `rl.launcher`; got 1. Fix: lower `processes`, or use a larger machine"
    )
    assert there == "begins"  # of a cluster's GPUs, and of its files, this machine knows nothing


def test_the_project_can_be_named(project: Project, elsewhere: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    copy_project(other)
    named = ("--project", str(project.root), "versions", "--model", "nobody")
    status, said = call(other, elsewhere, "commands.main", *named)
    assert (status, "registered versions of nobody" in said) == (1, True)
    status, said = call(other, elsewhere, "commands.main", "--project", str(elsewhere), "versions")
    assert (status, "which has neither" in said) == (1, True)


def test_a_look_at_settings_leaves_the_projects_stack_as_it_is(project: Project, elsewhere: Path) -> None:
    active = project.root / ".zen" / "config.yaml"
    before = active.read_text(encoding="utf-8")
    status, said = call(
        project.root, elsewhere, "commands.main", "check", "-c", str(project.root / "configs/smoke.yaml")
    )
    assert status == 0, said
    assert len(said.splitlines()) == 1
    assert active.read_text(encoding="utf-8") == before


def test_help_works_anywhere(elsewhere: Path, tmp_path: Path) -> None:
    copy_project(tmp_path)
    status, said = call(tmp_path, elsewhere, "commands.main", "versions", "--help")
    assert (status, "List the registered versions" in said) == (0, True)
