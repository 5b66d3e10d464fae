"""CONTRIBUTING's extensions work as they stand there: in a copy of the project that has them, they are used."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "CONTRIBUTING.md"
KINDS = {f"rere/training/rl/{kind}" for kind in ("losses", "advantages", "rewards", "samplers")}
KINDS |= {"rere/recommenders", "rere/catalog/codes", "rere/data/sources", "rere/runtime/launchers"}


def extensions() -> dict[Path, tuple[str, list[str]]]:
    """Path in the project -> content of the file, and the lines that its registry gets."""
    blocks = list(blocks_of(PAGE, PAGE.read_text(encoding="utf-8")))
    found = {}
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if path := re.match(r"# (rere/\S+\.py)\n", block.text):
            assert following is not None
            assert following.language == "diff", f"{block}: no registration follows"
            lines = following.text.splitlines()
            assert all(line.startswith("+") for line in lines), following
            entries = [line for line in lines if not line.startswith("+from ")]
            assert len(entries) == 1, f"{following}: one entry, beside its import"
            found[Path(path[1])] = (block.text, [line[1:] for line in lines])
    return found


def registered(registry: str, lines: list[str]) -> str:
    """A registry with an import among its imports, and an entry as its first."""
    for line in lines:
        at = r"^from rere\." if line.startswith("from ") else r"^[A-Z_]+\b.* = [({]\n"
        anchor = re.search(at, registry, re.M)
        assert anchor is not None, line
        cut = anchor.start() if line.startswith("from ") else anchor.end()
        registry = registry[:cut] + line + "\n" + registry[cut:]
    return registry


def test_every_kind_is_shown_once_and_every_registration_belongs_to_a_file() -> None:
    assert sorted(str(path.parent) for path in extensions()) == sorted(KINDS)
    registrations = [block for block in blocks_of(PAGE, PAGE.read_text(encoding="utf-8")) if block.language == "diff"]
    assert len(registrations) == len(KINDS)


def test_they_are_used(tmp_path: Path) -> None:
    for name in ("infra", "rere", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, (content, lines) in extensions().items():
        assert not (ROOT / path).exists(), f"{path} is there already: show another"
        (tmp_path / path).write_text(content, encoding="utf-8")
        registry = tmp_path / path.with_name("registry.py")
        registry.write_text(registered(registry.read_text(encoding="utf-8"), lines), encoding="utf-8")
    files = [str(path) for path in extensions()]
    promises = "tests/recommenders/test_item_models.py"  # of every registered item model
    for command in (
        ["ruff", "check", "--no-cache", *files],
        ["ruff", "format", "--check", "--no-cache", *files],
        ["pytest", "-n0", "-p", "no:cacheprovider", "tests/docs/extended.py"],
        ["pytest", "-n0", "-p", "no:cacheprovider", "-k", "most_recent", promises],
    ):
        done = subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
