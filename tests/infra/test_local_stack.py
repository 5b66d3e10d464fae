"""The local stack, set up on a fresh machine, twice at once, and looked at."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from infra import local_stack
from infra.patience import until
from infra.ports import answers, free_port
from tests.home import STRANGER, as_a_stranger
from tests.pipeline.conftest import Project, copy_project, sourced

SERVER = "RERE_ZENML_SERVER_PYTHON"  # of an environment with zenml[server], as for the simulated Kubernetes


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project whose stack two processes set up at once."""
    root = tmp_path_factory.mktemp("a fresh project")
    copy_project(root)
    project = Project(root, {"PYTHONPATH": str(root), "NO_COLOR": "1"})
    command = project.command("python", "infra/local_stack.py")
    both = [subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    project.environment |= sourced(root / ".rere" / "env.sh")
    return project


def tables(uri: str) -> set[str]:
    """Those of a SQLite database."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        return {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}


def test_all_tables_are_there_before_the_first_run(fresh: Project) -> None:
    uri = fresh.environment["MLFLOW_TRACKING_URI"]
    made = tables(uri)
    assert {"experiments", "runs", "metrics", "registered_models", "model_versions", "alembic_version"} <= made
    code = "import mlflow; mlflow.set_experiment('first'); mlflow.start_run(); mlflow.log_metric('a', 1.0, step=3)"
    command = fresh.command("python", "-c", code)
    both = [subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert tables(uri) == made  # nothing was left to make
    [store] = Path(fresh.environment["ZENML_CONFIG_PATH"]).rglob("zenml.db")
    assert {"stack", "pipeline_run"} <= tables(f"sqlite:///{store}")


def test_the_stack_keeps_nothing_at_home(fresh: Project) -> None:
    _, environment = as_a_stranger()
    home = Path(environment["HOME"])
    assert not home.is_dir() or list(home.iterdir()) == []
    for name in ("HF_HOME", "MPLCONFIGDIR", "RERE_CACHE_DIR"):
        assert Path(fresh.environment[name]).is_relative_to(fresh.root / ".rere")


def test_a_user_without_a_name_is_known_by_number(fresh: Project) -> None:
    if not as_a_stranger()[0]:
        pytest.skip("needs user namespaces")
    said = fresh.ask("from ops.registry.event_log import user; print(user())")
    assert said == f"uid {STRANGER}"


@pytest.mark.server
def test_the_dashboard_shows_the_project(fresh: Project) -> None:
    if not (python := os.environ.get(SERVER)):
        pytest.skip(f"needs zenml[server]: `make test-k8s` installs it and sets {SERVER}")
    port = free_port()
    command = fresh.command("python", "-m", "infra.dashboard", "--python", python, "--port", str(port))
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(**command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or answers(address), "the dashboard")
        assert process.poll() is None
        with httpx.Client(base_url=address, timeout=None, trust_env=False) as client:
            assert "<html" in client.get("/").text
            token = client.post("/api/v1/login", data={"username": "default"}).json()["access_token"]
            allowed = {"Authorization": f"Bearer {token}"}
            stacks = client.get("/api/v1/stacks", headers=allowed).json()
            user = client.get("/api/v1/current-user", headers=allowed).json()["body"]
        assert user["email_opted_in"] is False  # else the first page asks for a name and an e-mail address
        assert "rere_local" in {stack["name"] for stack in stacks["items"]}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["local_stack.py"])
    with pytest.raises(SystemExit, match="make it writable"):
        local_stack.main(tmp_path / "file" / "home")


def test_asked_for_help_it_sets_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["local_stack.py", "--help"])
    with pytest.raises(SystemExit):
        local_stack.main(tmp_path / "home")
    assert not (tmp_path / "home").exists()
