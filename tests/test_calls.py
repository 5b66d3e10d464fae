"""How things are handed on: few by position, artifacts under their own names, models by their label.

Functions that take more than five by position are ruff's (PLR0917).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from rere.recommenders.labels import Label

ROOT = Path(__file__).resolve().parents[1]
MOST = 5
PACKAGES = ("rere", "ops", "steps", "pipelines", "materializers", "commands", "infra", "experiments", "benchmarks")


def trees(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def test_records_are_made_by_keyword() -> None:
    classes = {n.name for _, tree in trees(*PACKAGES) for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    assert len(classes) > 100
    long = [
        f"{file}:{call.lineno} {name}"
        for file, tree in trees(*PACKAGES)
        for name, call in calls(tree)
        if name in {*classes, "cls", "__init__"} and len(call.args) > MOST
    ]
    assert long == []


def test_pipelines_hand_artifacts_on_under_their_own_names() -> None:
    renamed, seen = [], 0
    for file, tree in trees("pipelines"):
        steps = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("steps.")
            for alias in node.names
        } | {"judge"}
        artifacts: set[str] = set()
        for node in ast.walk(tree):
            made = node.value if isinstance(node, ast.Assign) else None
            if isinstance(node, ast.Assign) and isinstance(made, ast.Call) and ast.unparse(made.func) in steps:
                artifacts |= {name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)}
        for name, call in calls(tree):
            if name not in steps:
                continue
            seen += 1
            renamed += [f"{file}:{call.lineno} {name}: {ast.unparse(value)} by position" for value in call.args]
            for given in call.keywords:
                value = ast.unparse(given.value)
                is_artifact = value in artifacts or value.startswith(("data.", "inputs."))  # see Prepared and Inputs
                if is_artifact and value.rpartition(".")[2] != given.arg:
                    renamed.append(f"{file}:{call.lineno} {name}: {value} as {given.arg}")
    assert seen > 20
    assert renamed == []


def test_models_are_told_apart_by_label() -> None:
    """`results["model"] == "ReRe"` breaks without a word when somebody renames a row of a table."""
    texts = {str(label) for label in (Label.POPULARITY, Label.SFT, Label.RL)}
    compared = [
        f"{file}:{node.lineno}"
        for file, tree in trees(*PACKAGES)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(one, ast.Constant) and one.value in texts for one in (node.left, *node.comparators))
    ]
    assert compared == []
