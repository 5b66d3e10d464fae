"""`rere` where something that a command needs isn't installed: it says what is missing, and where to get it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from commands.main import cli
from rere.errors import without_passwords


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is a project by its `.rere`, and has no code."""
    (tmp_path / ".rere").mkdir()
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command adds its project
    return tmp_path


def missing(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    known: dict[str, Any] = sys.modules
    for name in modules:
        monkeypatch.setitem(known, name, None)  # as if it weren't there


def test_pipelines_come_from_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "pipelines", "pipelines.checked")
    (config := project / "run.yaml").write_text("parameters: {}\n", encoding="utf-8")
    done = CliRunner().invoke(cli, ["check", "-c", str(config)])
    assert done.exit_code == 1
    assert f"(pipelines/), which this command runs; got none in {project}" in done.output
    assert "clone of the repository" in done.output


def test_a_package_of_an_extra_is_named_with_its_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "rich", "rich.console")
    done = CliRunner().invoke(cli, ["versions"])
    assert done.exit_code == 1
    assert "pip install 'rere-pipelines[ops]'" in done.output


def test_a_fault_of_our_own_is_no_advice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "ops.registry.status")
    done = CliRunner().invoke(cli, ["status"])
    assert isinstance(done.exception, ModuleNotFoundError)


def test_no_password_of_a_registry_is_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class MlflowException(Exception):  # known by its name
        pass

    def refuse(*_: object) -> None:
        raise MlflowException("API request to https://ada:secret@mlflow.example.com/api failed")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ada:pa@ss@db.example.com:5432/mlflow")
    known: dict[str, Any] = sys.modules
    monkeypatch.setitem(known, "ops.registry.status", SimpleNamespace(status_of=refuse))
    done = CliRunner().invoke(cli, ["status"])
    assert done.exit_code == 1
    assert "postgresql://***@db.example.com:5432/mlflow" in done.output
    assert "https://***@mlflow.example.com/api" in done.output
    assert "ada" not in done.output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:////home/ada@work/mlflow.db", None),
        ("https://mlflow.example.com/a@b", None),
        ("mail ada@example.com", None),
        ("(s3://key:secret@bucket/a, http://u@h)", "(s3://***@bucket/a, http://***@h)"),
    ],
)
def test_what_is_no_password_stays(text: str, shown: str | None) -> None:
    assert without_passwords(text) == (shown or text)
