"""Which project a command belongs to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rere import project
from rere.errors import RereError
from rere.project import in_project, project_root, stack_environment, use_project, use_stack, use_store
from tests.home import project_kept


@pytest.fixture(autouse=True)
def _no_project_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RERE_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # so that what the test sets is undone
        monkeypatch.delenv(name)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A project with a stack, and a directory deep in it."""
    root = tmp_path / "other project"
    (root / ".rere").mkdir(parents=True)
    (root / "data" / "deep").mkdir(parents=True)
    (root / ".rere" / "env.sh").write_text("export MLFLOW_TRACKING_URI='sqlite:////it here'\n")
    return root


def test_it_is_found_from_the_current_directory_upwards(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(other / "data" / "deep")
    assert project_root() == other
    with in_project():
        assert Path.cwd() == other
    assert Path.cwd() == other / "data" / "deep"


def test_outside_of_any_it_is_the_one_that_the_code_lies_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_root() == Path(__file__).resolve().parents[1]


def test_what_is_named_comes_first(other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    (mine / ".rere").mkdir(parents=True)
    monkeypatch.chdir(mine)
    use_project(other)
    assert project_root() == other
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:////it here"


def test_a_directory_without_a_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    with pytest.raises(RereError, match=r"which has neither.*make stack"):
        project_root()
    monkeypatch.delenv("RERE_PROJECT")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "CODE", tmp_path)  # as where the code is installed without its project
    with pytest.raises(RereError, match="--project"):
        project_root()


def test_the_stack_is_the_projects_unless_a_variable_says_otherwise(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(other)
    assert use_stack() == other
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:////it here"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")
    use_stack()
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example.com"


def test_a_project_without_a_stack_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".rere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert stack_environment(tmp_path) == {}
    with pytest.raises(RereError, match="make stack"):
        use_stack()


def test_commands_without_a_stack_open_no_store_but_the_projects(
    other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZENML_CONFIG_PATH", "ZENML_ANALYTICS_OPT_IN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    bare = tmp_path / "bare"
    (bare / ".rere").mkdir(parents=True)
    monkeypatch.chdir(bare)
    assert use_store() == bare
    assert os.environ["ZENML_CONFIG_PATH"] == str(bare / ".rere" / "zenml")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.chdir(other)
    use_store()
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:////it here"


def test_what_a_test_says_of_a_project_is_not_handed_on(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/conftest.py` has each test within this."""
    monkeypatch.setenv("ZENML_CONFIG_PATH", "a store")
    monkeypatch.setenv("RERE_CACHE_DIR", "a cache")
    (other / ".rere" / "env.sh").write_text("export ZENML_CONFIG_PATH=another\nexport ZENML_REPOSITORY_PATH=there\n")
    before = dict(os.environ)
    with project_kept():
        use_project(other)
        del os.environ["RERE_CACHE_DIR"]
        assert os.environ["ZENML_REPOSITORY_PATH"] == "there"
    assert dict(os.environ) == before


def test_the_file_of_a_name_lies_in_its_directory_whatever_the_name(tmp_path: Path) -> None:
    names = [
        "rere",
        "..",
        ".",
        "../../up",
        "/etc/passwd",
        "a/b",
        "c/b",
        "a%2Fb",
        "a\\b",
        "n\x00l",
        "ü" * 300,
        "ü" * 301,
    ]
    files = [tmp_path / f"{project.file_name(name)}.lock" for name in names]
    for file in files:
        file.touch()
    assert len({*tmp_path.iterdir()}) == len(names)
    assert files[0].name == "rere.lock"
