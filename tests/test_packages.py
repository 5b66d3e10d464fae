"""What is installed: declared, pinned, and locked with hashes in the same versions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from infra.patience import run
from infra.wheel import HOLDS, top_level

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", re.M)
REMEDY = "add the new packages' pins to constraints.txt, then run `make lock`"


def pins(name: str) -> dict[str, str]:
    return {package.lower(): version for package, version in PIN.findall((ROOT / name).read_text(encoding="utf-8"))}


def test_the_lock_has_the_versions_of_the_constraints_each_with_hashes() -> None:
    locked = pins("requirements.lock")
    assert locked == pins("constraints.txt"), REMEDY
    for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8")):
        assert "--hash=sha256:" in entry, entry


def test_what_is_declared_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    locked = ("serve", "train", "ops", "dev", "docs", "k8s", "ray", "simulated")
    declared = [*project["dependencies"], *(one for name in locked for one in extras[name])]
    names = {re.split(r"[\[<>=; ]", requirement)[0].lower() for requirement in declared}
    assert names - pins("constraints.txt").keys() <= {"pip", "rere-pipelines"}, REMEDY


def test_the_wheel_holds_rere_and_ops_alone(tmp_path: Path) -> None:
    """Pipelines, steps and infra are a project's; the commands come as `ops.commands`, where the script finds them."""
    source = tmp_path / "source"
    for name in ("rere", "ops", "commands", "steps", "pipelines", "materializers", "infra"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"  # as pip does
    done = run([sys.executable, "-c", build], cwd=source)
    assert done.returncode == 0, done.stdout
    [wheel] = tmp_path.glob("*.whl")
    assert top_level(wheel) == HOLDS
    held = zipfile.ZipFile(wheel)
    names = set(held.namelist())
    for package, inside in (("rere", "rere"), ("ops", "ops"), ("commands", "ops/commands")):
        files = [file.relative_to(ROOT / package).as_posix() for file in (ROOT / package).rglob("*") if file.is_file()]
        wanted = {f"{inside}/{file}" for file in files if "__pycache__" not in file}
        assert wanted <= names, wanted - names
    scripts = next(name for name in names if name.endswith("/entry_points.txt"))
    assert "rere = ops.commands.main:cli" in held.read(scripts).decode()


def test_what_is_imported_is_declared(tmp_path: Path) -> None:
    deptry = Path(sys.executable).with_name("deptry")
    done = subprocess.run([deptry, "--no-ansi", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = []\n', encoding="utf-8")
    (tmp_path / "module.py").write_text("import numpy\n", encoding="utf-8")
    assert subprocess.run([deptry, "."], cwd=tmp_path, capture_output=True).returncode == 1
