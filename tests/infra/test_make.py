"""Each task of the Makefile in a path with a space: its programs start, in the stack's environment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local_stack import caches, script
from tests.infra.chart import ROOT

TASKS = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
PROGRAMS = ("actionlint", "deptry", "mlflow", "mypy", "python", "rere", "ruff", "uv", "zenml")
IN_STACK = ("demo", "retrain", "dashboard", "mlflow", "serve", "reproduce", "reproduce-quick", "independent")
# Says how it was called, as the environment's programs would be, and does nothing.
STUB = f"""#!{sys.executable} -S
import json, os, sys
names = ("ZENML_CONFIG_PATH", "MLFLOW_TRACKING_URI", "HF_HOME", "PIP_CACHE_DIR")
call = [os.path.abspath(sys.argv[0]), sys.argv[1:], {{name: os.environ.get(name) for name in names}}]
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(call) + "\\n")
"""
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's skeleton whose programs are stubs."""
    root = tmp_path / "a project's place"
    environments = (".venv", ".venv-zenml-server", ".venv-recbole")
    for directory in (*(f"{name}/bin" for name in environments), ".rere", "reports", "tests/k8s", "experiments"):
        (root / directory).mkdir(parents=True)
    files = ("Makefile", "constraints.txt", "pyproject.toml", "requirements-data.txt")
    for name in (*files, "tests/k8s/zenml-server.txt", "experiments/recbole.txt"):
        shutil.copy2(ROOT / name, root / name)
    for name in PROGRAMS:
        for environment in environments:
            (root / environment / "bin" / name).write_text(STUB, encoding="utf-8")
            (root / environment / "bin" / name).chmod(0o755)
    (root / ".venv" / "bin" / "activate").touch()
    (tmp_path / "initdb").write_text("#!/bin/sh\n", encoding="utf-8")  # so that nothing is installed for test-k8s
    (tmp_path / "initdb").chmod(0o755)
    (root / "reports" / "latest.html").touch()
    stack = {"ZENML_CONFIG_PATH": str(root / ".rere" / "zenml"), "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db"}
    (root / ".rere" / "env.sh").write_text(script(stack, caches(root / ".rere")), encoding="utf-8")
    return root


@needs_make
@pytest.mark.parametrize("task", TASKS)
def test_a_path_with_a_space(project: Path, task: str) -> None:
    calls = project.parent / "calls"
    environment = {
        "BROWSER": "true",
        "CALLS": str(calls),
        "HOME": "/dev/null/home",
        "PATH": f"{project.parent}:/usr/bin:/bin",
    }
    command = ["make", task, f"PYTHON={sys.executable}", "DOCKER=true", "TORCH_INDEX=", "NVIDIA="]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    if task in ("help", "image", "report", "clean"):  # they start none of the programs
        return
    called = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    assert all(Path(program).is_relative_to(project) for program, _, _ in called)
    for _, _, variables in called:
        assert variables["PIP_CACHE_DIR"] == str(project / ".rere" / "cache" / "pip")
    if task in IN_STACK:
        _, arguments, variables = called[-1]
        assert variables["ZENML_CONFIG_PATH"] == str(project / ".rere" / "zenml")
        assert variables["HF_HOME"] == str(project / ".rere" / "cache" / "huggingface")
    if task == "mlflow":
        assert f"sqlite:///{project}/mlflow.db" in arguments


def test_a_cache_that_the_user_chose_stays(tmp_path: Path) -> None:
    (tmp_path / "env.sh").write_text(script({"A": "it's one"}, {"HF_HOME": "/project/hf"}), encoding="utf-8")
    for given, wanted in ({}, "/project/hf"), ({"HF_HOME": "/mine"}, "/mine"):
        shown = 'set -eu; . ./env.sh; printf "%s|%s" "$A" "$HF_HOME"'
        done = subprocess.run(["sh", "-c", shown], cwd=tmp_path, env=given, capture_output=True, text=True, check=True)
        assert done.stdout == f"it's one|{wanted}"


@needs_make
@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, "the build without CUDA"), ({"NVIDIA": "/usr/bin/nvidia-smi"}, ""), ({"PIP_FIND_LINKS": "/wheels"}, "")],
)
def test_torch_without_cuda_where_there_is_no_gpu(project: Path, given: dict[str, str], wanted: str) -> None:
    if sys.platform != "linux":
        pytest.skip("PyPI's build for other systems has no CUDA")
    variables = {"NVIDIA": "", **given}
    command = ["make", "-n", "venv", *(f"{name}={value}" for name, value in variables.items())]
    done = subprocess.run(command, cwd=project, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("--extra-index-url https://download.pytorch.org/whl/cpu" in done.stdout) == bool(wanted)
    assert wanted in done.stdout
