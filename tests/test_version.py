"""The version stands in pyproject.toml; whatever else gives it says the same."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from pathlib import Path

import torch
import yaml
from click.testing import CliRunner

from commands.main import cli
from rere.artifacts.provenance import git_state

ROOT = Path(__file__).resolve().parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_rere_says_its_version_commit_python_and_torch() -> None:
    done = CliRunner().invoke(cli, ["--version"])
    assert done.exit_code == 0
    assert done.output.startswith(f"rere {importlib.metadata.version('rere-pipelines')} ")
    assert f"Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}" in done.output
    git = git_state(Path(__file__))
    assert git is None or f"(commit {git['commit'][:12]}" in done.output


def test_the_citation_and_the_installed_package_have_the_declared_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == DECLARED
    assert importlib.metadata.version("rere-pipelines") == DECLARED, "install the project again: make venv"


def test_the_images_and_the_chart_have_the_declared_version() -> None:
    chart = yaml.safe_load((ROOT / "infra" / "chart" / "Chart.yaml").read_text(encoding="utf-8"))
    assert [chart["version"], chart["appVersion"]] == [DECLARED, DECLARED]
    for name in ("configs/k8s.yaml", "infra/chart/values.yaml", "docs/kubernetes.md"):
        tags = re.findall(r"\b(?:steps|service):([\w.]+)-(?:cpu|cuda)\b", (ROOT / name).read_text(encoding="utf-8"))
        assert tags, name
        assert set(tags) == {DECLARED}, name


def test_no_module_repeats_the_version() -> None:
    packages = ("rere", "ops", "steps", "pipelines", "materializers", "commands", "infra")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    assert [file for file in files if re.search(rf"\b{re.escape(DECLARED)}\b", file.read_text(encoding="utf-8"))] == []
