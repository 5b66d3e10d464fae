"""The workflows are what GitHub takes them for: linted, valid, and without rights that they don't need."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def lint(*command: str) -> None:
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([str(program), *command[1:], *map(str, WORKFLOWS)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def read(name: str) -> dict[Any, Any]:
    content = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_actionlint() -> None:
    assert {file.name for file in WORKFLOWS} >= {"ci.yml", "retrain.yml"}
    lint("actionlint", "-no-color")


def test_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows")


def test_actions_are_pinned_by_commit() -> None:
    used = [line.strip() for file in WORKFLOWS for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not re.search(r"uses: [\w/-]+@[0-9a-f]{40}  # v\d+(\.\d+)*$", line)] == []


def test_ci_runs_on_every_python_that_the_project_says_it_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = [name.rsplit(" ", 1)[1] for name in project["classifiers"] if "Python :: 3." in name]
    assert read("ci.yml")["jobs"]["check"]["strategy"]["matrix"]["python"] == said
    assert project["requires-python"] == f">={said[0]},<3.{int(said[-1].split('.')[1]) + 1}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
def test_only_what_attaches_a_release_may_write_to_the_repository(file: Path) -> None:
    workflow = read(file.name)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        if (file.name, name) == ("release.yml", "attach"):
            assert job["permissions"] == {"actions": "read", "contents": "write"}
            assert all(step["run"].startswith("gh r") for step in job["steps"])  # nothing of the repository runs there
        else:
            assert set(job.get("permissions", {}).values()) <= {"read"}
        assert job["timeout-minutes"] <= 360


def test_retraining_is_scheduled_alone_and_promotes_only_past_a_reviewer() -> None:
    workflow = read("retrain.yml")
    triggers = workflow[True]  # YAML 1.1 reads `on` as true
    assert triggers["schedule"]
    assert "workflow_dispatch" in triggers
    assert workflow["concurrency"] == {"group": "retrain", "cancel-in-progress": False}
    promote = workflow["jobs"]["promote"]
    assert promote["environment"] == "production"
    assert promote["if"] == "needs.train.outputs.type == 'waiting'"
    elsewhere = [
        step.get("run", "") for name, job in workflow["jobs"].items() if name != "promote" for step in job["steps"]
    ]
    assert not any("rere approve" in script or "rere promote" in script for script in elsewhere)


def test_the_scheduled_configuration_leaves_the_word_to_the_reviewer() -> None:
    workflow, config = read("retrain.yml"), ROOT / "configs" / "retrain.yaml"
    assert "configs/retrain.yaml" in workflow["env"]["CONFIG"]
    promotion = yaml.safe_load(config.read_text(encoding="utf-8"))["parameters"]["promotion"]
    assert promotion["decided_by"] == "review"
