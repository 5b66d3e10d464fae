"""An isolated copy of the project with a ZenML store of its own, and one real smoke run that many tests look at."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import torch

from infra import patience
from rere.training.checkpoint import load_progress
from tests.home import as_a_stranger

ROOT = Path(__file__).resolve().parents[2]
CODE = (
    *("rere", "ops", "steps", "pipelines", "materializers", "commands", "infra", "configs"),
    *("rere_pipeline.py", "batch_pipeline.py", "retrain_pipeline.py", "tune_pipeline.py"),
)


@dataclass
class Project:
    """A fresh copy of the project: its own `.zen`, `.rere` and reports, so that no test touches the developer's."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, program: str, *arguments: str) -> dict[str, Any]:
        """What `Popen` needs to start a command of the environment (`zenml …`, `python …`) in the project.

        Nobody on the machine has the name or the home of the user who runs it: `tests.home.as_a_stranger`.
        """
        prefix, environment = as_a_stranger()
        path = Path(sys.executable).with_name(program)
        return {
            "args": [*prefix, str(path), *arguments],
            "cwd": self.root,
            "env": {**environment, **self.environment},
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in the project, output merged."""
        return patience.run(**self.command(*command))

    def run_pipeline(self, config: str) -> subprocess.CompletedProcess[str]:
        return self.run("zenml", "pipeline", "run", "rere_pipeline", "-c", config)

    def config(self, name: str, content: str) -> str:
        """Write a run configuration; returns its path."""
        path = self.root / f"{name}.yaml"
        path.write_text(content, encoding="utf-8")
        return str(path)

    def ask(self, code: str) -> str:
        """Run Python in the project with its store; returns what it printed last."""
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip().splitlines()[-1]


def copy_project(root: Path) -> None:
    """The project's code and configurations, in a repository of ZenML's own."""
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)
    (root / ".zen").mkdir()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The copy, with the local stack set up as `make stack` does."""
    root = tmp_path_factory.mktemp("project")
    copy_project(root)
    project = Project(root, {"PYTHONPATH": str(root), "NO_COLOR": "1", "ZENML_LOGGING_COLORS_DISABLED": "true"})
    done = project.run("python", "infra/local_stack.py")
    assert done.returncode == 0, done.stdout
    project.environment |= sourced(root / ".rere" / "env.sh")
    return project


def sourced(file: Path) -> dict[str, str]:
    """The variables that a shell has after it read the file, and that it hadn't before."""
    path = {"PATH": os.environ["PATH"]}
    read = subprocess.run(
        ["sh", "-c", '. "$1" && env -0', "sh", str(file)], env=path, stdout=subprocess.PIPE, text=True
    )
    assert read.returncode == 0
    pairs = (line.split("=", 1) for line in read.stdout.split("\0") if line)
    return {name: value for name, value in pairs if name not in {*path, "PWD", "SHLVL", "_", "OLDPWD"}}


@pytest.fixture(scope="session")
def killed_run(project: Project) -> dict[str, Any]:
    """The smoke pipeline, killed (SIGKILL) once RL has a checkpoint: how far it came, and what it left."""
    work = project.root / ".rere" / "work"
    process = subprocess.Popen(
        **project.command("zenml", "pipeline", "run", "rere_pipeline", "-c", "configs/smoke.yaml"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    watch = patience.Watch(psutil.Process(process.pid))
    while not (found := list(work.glob("rl-*/progress/manifest.json"))):
        assert process.poll() is None, "it ended before it could be killed"
        watch.look("a run without a checkpoint of RL")
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    left = found[0].parents[1]
    saved = load_progress(left / "progress", torch.device("cpu"))
    assert saved is not None
    return {"update": saved[1]["update"], "left": left}


@pytest.fixture(scope="session")
def smoke_run(project: Project, killed_run: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The smoke pipeline, run for real by the command that users type; on from where the killed one was."""
    done = project.run_pipeline("configs/smoke.yaml")
    assert done.returncode == 0, done.stdout[-6000:]
    return done


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A local artifact store that needs no ZenML database, for materializers."""
    from zenml.artifact_stores import LocalArtifactStore, LocalArtifactStoreConfig
    from zenml.enums import StackComponentType
    from zenml.utils.time_utils import utc_now

    return LocalArtifactStore(
        name="test",
        id=uuid4(),
        config=LocalArtifactStoreConfig(path=str(tmp_path / "store")),
        flavor="local",
        type=StackComponentType.ARTIFACT_STORE,
        user=uuid4(),
        created=utc_now(),
        updated=utc_now(),
    )
