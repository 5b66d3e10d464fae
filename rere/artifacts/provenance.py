"""Where a result came from: code, packages, machine, seeds. No user names, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve()
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "zenml",
    "mlflow",
    "great-expectations",
    "numpy",
    "pandas",
)


def provenance(seeds: Mapping[str, int], submitted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What another person needs to make the same result.

    Args:
        submitted: `code_state` of the machine that the run was submitted from, for a step that runs without git.

    Returns:
        git: `commit` and `dirty` (uncommitted changes, new files included), or None where this code isn't in a git
        repository and wasn't submitted from one; packages: name -> version, None where not installed; python,
        platform, cpus; gpu: name or None;
        seeds: as given.
    """
    return {
        "git": code_state() or (dict(submitted) if submitted else None),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "seeds": dict(seeds),
    }


def own_version() -> str:
    """This software's version, as pyproject.toml gives it; "unknown" where the code runs without being installed."""
    return _version("rere-pipelines") or "unknown"


def describe_version() -> str:
    """One line for bug reports: this software's version, its commit (in a checkout), Python's and torch's version."""
    git = code_state()
    commit = f" (commit {git['commit'][:12]}{', with changes' if git['dirty'] else ''})" if git else ""
    return f"rere {own_version()}{commit}, Python {platform.python_version()}, torch {_version('torch') or 'missing'}"


def code_state() -> dict[str, Any] | None:
    """`git_state` of this very code."""
    return git_state(HERE)


def git_state(file: Path) -> dict[str, Any] | None:
    """Commit and dirtiness of the repository that tracks `file`; None where none does.

    A file that merely lies inside a repository (an installed package in a project's environment) isn't tracked,
    and that repository's commit would say nothing about it.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit, changes = _git(file.parent, "rev-parse", "HEAD"), _git(file.parent, "status", "--porcelain")
    return None if commit is None else {"commit": commit, "dirty": bool(changes)}


def _git(directory: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or isn't installed."""
    try:
        done = subprocess.run(["git", "-C", directory, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
