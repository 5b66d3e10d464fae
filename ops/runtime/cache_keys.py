"""What a step's cache key must cover: the project's code that the step can reach, and the packages' versions.

ZenML hashes a step function's own source, not what it calls. `cache_policy(__name__)` follows the imports of the
step's module through the project's packages (also imports inside functions, and the registries that settings name) and
adds those files. Left out is what can't change a result: imports for type checkers, and page templates that no reached
file names.

A step so depends on what it imports. Where a value decides at run time which module is needed (the kind of an item
model), a registry names it as text: a step that runs them all passes those modules here, and where one is asked its sum
travels with the artifact. `ops.runtime.named` sums up what settings name.
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


def cache_policy(module: str, *registered: str) -> CachePolicy:
    """A step's cache policy: parameters, input contents, the code it reaches, versions of the main packages.

    Args:
        registered: modules that the step loads by name.
    """
    versions = Source.from_import_path(f"{__name__}.{package_versions.__name__}")
    return CachePolicy(file_dependencies=reachable_files(module, *registered), cache_func=versions)


def package_versions() -> str:
    """`name==version` of the packages whose release can change a result."""
    return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES)


def reachable_files(*modules: str) -> list[str]:
    """Paths, relative to the project's root, of the modules, all project modules they import, and the page templates
    that these name, sorted."""
    found: set[Path] = set()
    waiting = [*modules]
    while waiting:
        for file in _files(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting += _read(file)[0]
    return sorted(file.relative_to(ROOT).as_posix() for file in found | _templates(found))


def code_fingerprint(module: str) -> str:
    """SHA-256 of the files that `module` can reach."""
    digest = hashlib.sha256()
    for file in reachable_files(module):
        digest.update(f"{file}\n".encode() + (ROOT / file).read_bytes())
    return digest.hexdigest()


def _files(module: str) -> list[Path]:
    """The file of a module and its packages' `__init__` files; none where `module` is a name inside a module."""
    parts = module.split(".")
    packages = [ROOT.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [file for file in [*packages, ROOT.joinpath(*parts).with_suffix(".py")] if file.is_file()]


@cache
def _read(file: Path) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names that a file imports from the project's packages, registries that it names, and its text constants.

    `from a import b` gives `a.b`, a module or not.
    """
    names: list[str] = []
    texts: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "OneOf":
            names += [str(ast.literal_eval(registry)).split(":")[0] for registry in node.args]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return tuple(name for name in names if name.split(".")[0] in PROJECT), frozenset(texts)


def _templates(files: set[Path]) -> set[Path]:
    """Page templates that files name, and those which these include or extend."""
    left = {page for folder in ROOT.joinpath("rere").rglob("templates") for page in folder.iterdir()}
    texts = {text for file in files for text in _read(file)[1]}
    named = {page for page in left if page.name in texts}
    found: set[Path] = set()
    while named:
        found |= named
        left -= named
        sources = [page.read_text(encoding="utf-8") for page in named]
        named = {page for page in left if any(f'"{page.name}"' in source for source in sources)}
    return found
