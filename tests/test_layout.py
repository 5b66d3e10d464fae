"""The fixed layout, and what may import what."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infra.patience import run
from tests.pipeline.conftest import copy_project

ROOT = Path(__file__).resolve().parents[1]
ORCHESTRATION = {"zenml", "mlflow", "great_expectations", "ops", "steps", "pipelines", "materializers"}
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def imports(file: Path) -> set[str]:
    """Top-level names of all modules that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_top_level() -> None:
    for name in ("pipelines", "steps", "materializers", "infra", "tests", "pyproject.toml", ".github"):
        assert (ROOT / name).exists(), name


def test_the_library_imports_no_orchestration() -> None:
    files = list((ROOT / "rere").rglob("*.py"))
    assert len(files) > 10
    assert {str(file): imports(file) & ORCHESTRATION for file in files if imports(file) & ORCHESTRATION} == {}


# A module imports from its own level and below. The longest name counts: what loads a backbone is below `catalog`,
# which indexes with its tokenizer; what runs a model along the catalogue's trie is above it.
PACKAGES = (("commands", "infra"), ("pipelines",), ("steps",), ("materializers", "ops"), ("rere",))
ROOMS = (
    ("serving",),
    ("reporting",),
    ("tuning",),
    ("training",),
    ("evaluation",),
    ("recommenders",),
    ("evaluation.metrics",),
    ("decoding",),
    ("models",),
    ("catalog",),
    (
        "models.attention",
        "models.backbone",
        "models.checkpoint",
        "models.files",
        "models.gguf",
        "models.heads",
        "models.loading",
        "models.packed_batch",
        "models.probe",
        "models.scratch",
    ),
    ("data",),
    ("runtime",),
    ("artifacts", "config", "project"),
    ("errors",),
)


MEASURING = ("experiments", "benchmarks")  # nothing imports these but they themselves


def project_imports(others: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Module -> the project's modules that it imports, at any depth of its code; `others`: packages besides."""
    packages = [*(package for level in PACKAGES for package in level), *others]
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    found: dict[str, set[str]] = {}
    for name, file in names.items():
        used: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    used.add(inner if inner in names else node.module)
        found[name] = (used & names.keys()) - {name}
    return found


def level(name: str, levels: tuple[tuple[str, ...], ...]) -> int:
    """The level of the longest prefix that the levels name."""
    fits = [(len(prefix), n) for n, row in enumerate(levels) for prefix in row if f"{name}.".startswith(f"{prefix}.")]
    assert fits, f"{name} is in no room: name it in tests/test_layout.py"
    return max(fits)[1]


def test_imports_run_one_way() -> None:
    upward = []
    for name, used in project_imports().items():
        for other in used:
            if level(name, PACKAGES) > level(other, PACKAGES):
                upward.append(f"{name} imports {other}")
            elif name.startswith("rere.") and other.startswith("rere."):
                inside, its = name.removeprefix("rere."), other.removeprefix("rere.")
                if level(inside, ROOMS) > level(its, ROOMS):
                    upward.append(f"{name} imports {other}")
    assert upward == []


def test_no_imports_in_a_circle() -> None:
    left = project_imports(MEASURING)
    while free := [name for name, used in left.items() if not used & left.keys()]:  # imports nothing that is left
        for name in free:
            del left[name]
    assert left == {}  # modules on a circle, and those that import them


def test_every_module_of_steps_holds_a_step() -> None:
    """What several steps share, or what a pipeline asks before its first step, is in `ops/`."""
    without = []
    for file in (ROOT / "steps").glob("*.py"):
        functions = [
            node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        ]
        decorators = [ast.unparse(decorator) for function in functions for decorator in function.decorator_list]
        if file.name != "__init__.py" and not any(one.partition("(")[0] == "step" for one in decorators):
            without.append(file.name)
    assert without == []


def test_pipelines_pass_settings_by_their_names() -> None:
    files = (ROOT / "pipelines").glob("*.py")
    assert [file.name for file in files if "locals()" in file.read_text(encoding="utf-8")] == []


def test_trl_stays_in_training() -> None:
    outside = [file for file in (ROOT / "rere").rglob("*.py") if "training" not in file.parts]
    assert [str(file) for file in outside if "trl" in imports(file)] == []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configs_load(config: Path) -> None:
    from pydantic import TypeAdapter

    from pipelines.batch import batch_pipeline
    from pipelines.rere import rere_pipeline
    from pipelines.retrain import retrain_pipeline
    from pipelines.tune import tune_pipeline

    others = {"batch": batch_pipeline, "retrain": retrain_pipeline, "tune": tune_pipeline}
    pipeline = others.get(config.stem, rere_pipeline)
    parameters = yaml.safe_load(config.read_text(encoding="utf-8"))["parameters"]
    known = inspect.get_annotations(pipeline.entrypoint, eval_str=True)
    assert parameters.keys() <= known.keys()
    for name, value in parameters.items():
        TypeAdapter(known[name]).validate_python(value)


def test_nano_states_the_defaults_of_the_code() -> None:
    from pipelines.defaults import defaults

    stated = yaml.safe_load((ROOT / "configs" / "nano.yaml").read_text(encoding="utf-8"))["parameters"]
    assert stated == defaults(), "run: python -m pipelines.defaults > configs/nano.yaml"


def test_defaults_are_printed_as_yaml_only(tmp_path: Path) -> None:
    """Also in a fresh checkout without a ZenML store, where ZenML says that it makes one."""
    root = tmp_path / "project"
    copy_project(root)
    store = {"ZENML_CONFIG_PATH": str(tmp_path / "store"), "ZENML_ANALYTICS_OPT_IN": "false"}
    # What a test before this one told ZenML or the project, in this process's environment, isn't handed on.
    untold = {name: value for name, value in os.environ.items() if not name.startswith(("ZENML_", "RERE_"))}
    done = run(
        [sys.executable, "-m", "pipelines.defaults"],
        stderr=subprocess.PIPE,
        cwd=root,
        env={**untold, "PYTHONPATH": str(root), **store},
    )
    assert done.returncode == 0, done.stderr
    assert "database" in done.stderr  # it did talk
    assert done.stdout == (ROOT / "configs" / "nano.yaml").read_text(encoding="utf-8")
