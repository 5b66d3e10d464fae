"""What a step's cache key must cover: the project's code that the step can reach, and the packages' versions.

ZenML hashes a step function's own source, not what it calls. `cache_policy(__name__)` follows the imports of
the step's module through the project's packages (also imports inside functions) and adds those files.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from zenml.config.cache_policy import CachePolicy
from zenml.config.source import Source

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ("rere", "ops", "steps", "materializers")
PACKAGES = (
    "datasets",
    "great-expectations",
    "numpy",
    "pandas",
    "peft",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)


def cache_policy(module: str) -> CachePolicy:
    """A step's cache policy: parameters, input contents, the code it reaches, versions of the main packages."""
    versions = Source.from_import_path(f"{__name__}.{package_versions.__name__}")
    return CachePolicy(file_dependencies=reachable_files(module), cache_func=versions)


def package_versions() -> str:
    """`name==version` of the packages whose release can change a result."""
    return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES)


def reachable_files(module: str) -> list[str]:
    """Paths, relative to the project's root, of `module`, all project modules it imports, and the page templates
    that lie beside them, sorted."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        for file in _files(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting += _imports(file)
    templates = {page for folder in {file.parent for file in found} for page in folder.glob("templates/*")}
    return sorted(file.relative_to(ROOT).as_posix() for file in found | templates)


def code_fingerprint(module: str) -> str:
    """SHA-256 of the files that `module` can reach."""
    digest = hashlib.sha256()
    for file in reachable_files(module):
        digest.update(f"{file}\n".encode() + (ROOT / file).read_bytes())
    return digest.hexdigest()


def _files(module: str) -> list[Path]:
    """The file of a module and its packages' `__init__` files; none where `module` is a name inside a module."""
    parts = module.split(".")
    places = [ROOT.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [file for file in [*places, ROOT.joinpath(*parts).with_suffix(".py")] if file.is_file()]


@cache
def _imports(file: Path) -> tuple[str, ...]:
    """Names that a file imports from the project's packages; `from a import b` gives `a.b`, a module or not."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
    return tuple(name for name in names if name.split(".")[0] in PROJECT)
