"""The registered model's requirements: all that its code imports, and enough for an environment of them alone."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

from infra.patience import run
from ops.registry import logged_model
from ops.registry.servable import REQUIREMENTS, requirements
from tests.pipeline.test_registry import logged  # noqa: F401  the fixture

ROOT = Path(__file__).resolve().parents[2]
DOWNLOADING = 1_800.0  # seconds; a slow network is no work and no output
REGISTRY = re.compile(r"rere(\.\w+)+:[A-Z_]+")
TO_BUILD_A_CATALOGUE = {"sentence_transformers"}  # an extra, imported where embeddings are made; never in serving


def imported(file: Path) -> set[str]:
    """Dotted names of all that a file imports, at any depth of its code, but for type checkers alone."""
    found: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and REGISTRY.fullmatch(node.value):
            found.add(node.value.split(":")[0])  # variants that settings load by name
    return found


def files_of(name: str) -> list[Path]:
    """The project's files behind a dotted name: the module and the packages it lies in."""
    parts = name.split(".")
    paths = [ROOT.joinpath(*parts[: end + 1]) for end in range(len(parts))]
    return [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


def packages_of(file: Path) -> set[str]:
    """Top-level names of the packages that a module and all the project's modules behind it import."""
    seen, waiting, found = set(), [file], set()
    while waiting:
        if (module := waiting.pop()) in seen:
            continue
        seen.add(module)
        for name in imported(module):
            if name.split(".")[0] == "rere":
                waiting += files_of(name)
            elif name.split(".")[0] not in sys.stdlib_module_names:
                found.add(name.split(".")[0])
    return found


def test_they_name_all_that_the_code_imports_and_no_more() -> None:
    needed = packages_of(Path(logged_model.__file__)) - TO_BUILD_A_CATALOGUE
    assert {"mlflow", "peft", "sklearn", "torch"} <= needed
    distributions = {  # as an index spells them
        name: [found.replace("_", "-").lower() for found in spelt]
        for name, spelt in importlib.metadata.packages_distributions().items()
    }
    assert [name for name in needed if not set(distributions[name]) & set(REQUIREMENTS)] == []
    assert set(REQUIREMENTS) <= {package for name in needed for package in distributions[name]}


def test_any_index_has_them() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+(post\d+)?", requirement) for requirement in requirements())


@pytest.mark.environment
def test_the_model_answers_in_an_environment_made_from_its_requirements(
    logged: SimpleNamespace,  # noqa: F811  the fixture
    tmp_path: Path,
) -> None:
    model = Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path / "model")))
    python = str(tmp_path / "environment" / "bin" / "python")
    code = f"""
import json, mlflow
model = mlflow.pyfunc.load_model({str(model)!r})
import rere
print(json.dumps([rere.__file__, model.predict({{"history": ["i0"]}}, params={{"k": 2}})["item_ids"].tolist()]))
"""
    steps = (
        [sys.executable, "-m", "venv", str(tmp_path / "environment")],
        [python, "-m", "pip", "install", "--quiet", "-r", str(model / "requirements.txt")],
        [python, "-m", "pip", "check"],
        [python, "-c", code],
    )
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    elsewhere["HOME"] = str(tmp_path / "home")  # pip asks rustc for its version, and that may make a directory there
    for step in steps:
        done = run(step, quiet=DOWNLOADING, cwd=tmp_path, env=elsewhere)
        assert done.returncode == 0, done.stdout[-4000:]
    path, [items] = json.loads(done.stdout.strip().splitlines()[-1])
    assert Path(path).is_relative_to(model)
    assert len(items) == 2
