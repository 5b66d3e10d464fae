"""The record of a result's origin: complete, honest, and free of paths."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from rere.artifacts.provenance import git_state, provenance


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_dirty_flag(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    assert git_state(file) is None  # no repository
    git(tmp_path, "init", "--quiet")
    assert git_state(file) is None  # not tracked by it
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    assert git_state(file) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new").write_text("two")
    assert git_state(file) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": True}


def test_where_a_step_runs_without_git_the_commit_of_the_submission_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = {"commit": "c0ffee", "dirty": False}
    monkeypatch.setenv("PATH", "")  # as in an image without git
    assert provenance({}, submitted)["git"] == submitted
    assert provenance({})["git"] is None
    assert provenance({}, {})["git"] is None


def test_versions_and_seeds_without_paths() -> None:
    record = provenance({"sft": 0, "rl": 3})
    assert record["seeds"] == {"sft": 0, "rl": 3}
    assert record["packages"]["torch"] == metadata.version("torch")
    text = json.dumps(record)
    assert str(Path.home()) not in text
    assert str(Path(__file__).parent) not in text
