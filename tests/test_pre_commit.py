"""The hooks run in a fresh clone with nothing but the project's own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def test_every_hook_is_the_environments_own() -> None:
    assert [repository["repo"] for repository in HOOKS["repos"]] == ["local"]
    for hook in HOOKS["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    nowhere = "http://127.0.0.1:9"  # a download would fail
    environment = {
        **os.environ,
        "PRE_COMMIT_HOME": str(folder / ".cache"),
        "https_proxy": nowhere,
        "http_proxy": nowhere,
    }
    environment |= {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
    environment |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the hooks' configuration, and the environment where `make venv` puts it."""
    for name in (".pre-commit-config.yaml", "pyproject.toml", ".gitignore"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / ".git" / "info").mkdir(parents=True)
    assert run(tmp_path, "git", "init", "--quiet").returncode == 0
    (tmp_path / ".git" / "info" / "exclude").write_text(".venv\n.cache\n", encoding="utf-8")
    return tmp_path


def test_the_ruff_hooks_mend_what_they_can_and_refuse_the_rest(clone: Path) -> None:
    module = clone / "module.py"
    module.write_text('"""A module."""\nx = {  "a":1 }\n', encoding="utf-8")
    run(clone, "git", "add", "--all")
    pre_commit = str(Path(sys.executable).with_name("pre-commit"))
    formatted = run(clone, pre_commit, "run", "ruff-format", "--all-files")
    assert (formatted.returncode, module.read_text()) == (1, '"""A module."""\n\nx = {"a": 1}\n'), formatted.stdout
    run(clone, "git", "add", "--all")
    assert run(clone, pre_commit, "run", "ruff-format", "--all-files").returncode == 0
    assert run(clone, pre_commit, "run", "ruff-check", "--all-files").returncode == 0
    module.write_text('"""A module."""\n\nprint(missing)\n', encoding="utf-8")
    run(clone, "git", "add", "--all")
    refused = run(clone, pre_commit, "run", "ruff-check", "--all-files")
    assert refused.returncode == 1
    assert "Undefined name `missing`" in refused.stdout
