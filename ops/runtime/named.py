"""Files, directories and code that settings name: their content decides a result as much as the settings do.

A pipeline hands these sums to the steps that read what is named, so that a change of it misses the cache. A name on a
hub counts by its commit: what lies there isn't fetched for this. Files that a reward's code opens by itself nobody
names, and they aren't seen.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rere.artifacts.manifest import fingerprint, sha256
from rere.artifacts.pins import moving
from rere.config.backbone import GGUFModel, HubModel
from rere.config.catalog import SentenceEmbedding
from rere.errors import RereError
from rere.runtime.hub import commit_of
from rere.training.rl.rewards.custom import CustomReward

INSTALLED = tuple(
    Path(directory).resolve()
    for name, directory in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def named_content(*settings: Any) -> str:
    """One SHA-256 over all that settings name; the same text for settings that name nothing."""
    return fingerprint(named_sums(*settings))


def named_sums(*settings: Any) -> dict[str, str]:
    """Name -> SHA-256 of every file that settings name, those below directories and a reward's code included.

    Args:
        settings: models, or tuples, lists and dicts of them.

    Raises:
        RereError: a package that should carry a file doesn't, or a reward's code is no Python.
    """
    sums: dict[str, str] = {}
    for value in settings:
        for kind, files in NAMES.items():
            if isinstance(value, kind):
                sums |= files(value)
        if isinstance(value, BaseModel):
            sums |= named_sums(*(getattr(value, name) for name in type(value).model_fields))
        elif isinstance(value, (tuple, list)):
            sums |= named_sums(*value)
        elif isinstance(value, dict):
            sums |= named_sums(*value.values())
    return sums


def hub_commits(*settings: BaseModel) -> dict[str, str]:
    """`name@revision` -> commit of all that settings name on a hub by a branch or a tag, where it can be told."""
    found = {one.key: commit_of(one.name, one.revision, one.kind) for one in moving(*settings)}
    return {key: commit for key, commit in found.items() if commit is not None}


def code_sums(module: str) -> dict[str, str]:
    """Module -> SHA-256 of a module's file and of those that it imports, at any depth of its code.

    What is installed (the standard library, packages) is left out, but for the module itself; nothing is executed.
    """
    sums: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in sums or (file := _source(name)) is None:
            continue
        if name != module and any(file.resolve().is_relative_to(directory) for directory in INSTALLED):
            continue
        sums[name] = sha256(file)
        waiting += [name.rpartition(".")[0], *_imports(name, file)]
    return sums


def _path(path: Path) -> dict[str, str]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file): sha256(file) for file in files if file.is_file()}


def _directory(name: str) -> dict[str, str]:
    """For names that are of a hub or of a local directory."""
    return _path(Path(name)) if Path(name).is_dir() else {}


def _carried(model: GGUFModel) -> dict[str, str]:
    from rere.models.gguf import gguf_file

    return {f"{model.package}": sha256(gguf_file(model))} if model.path is None else {}


NAMES: dict[type, Callable[[Any], dict[str, str]]] = {
    Path: _path,
    HubModel: lambda model: _directory(model.id),
    GGUFModel: _carried,
    SentenceEmbedding: lambda embedding: _directory(embedding.model),
    CustomReward: lambda reward: code_sums(reward.path.partition(":")[0]),
}


def _source(module: str) -> Path | None:
    """Where a module's source is; None for what isn't found or isn't Python. No package is imported to find it."""
    top, *rest = module.split(".")
    spec = _top(top)
    for depth, _ in enumerate(rest, 2):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest][:depth]), spec.submodule_search_locations)
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _top(name: str) -> ModuleSpec | None:
    if not name:
        return None
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # a module without a spec: what was started, or built in
        found = None
    return found or PathFinder.find_spec(name, [os.getcwd()])


def _imports(module: str, file: Path) -> Iterator[str]:
    """`from a import b` gives `a` and `a.b`, a module or not; relative imports are made whole."""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise RereError(f"Python code in {file}", str(error), "correct it") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
