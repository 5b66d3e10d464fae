"""Try a wheel as a user gets it: what it holds, then a server in an environment of its own.

`python -m infra.wheel dist/*.whl` installs it with the extra `serve`, in the pinned versions, into a new virtual
environment in a temporary directory (1 GB), and asks it for its version and its options there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOLDS = {"rere", "ops"}
# A server's modules, and what it must do without: the trainers' and pipelines' packages aren't installed there.
SERVER = """
import importlib, importlib.util
for name in ("ops.registry.alias", "ops.registry.edits", "rere.serving.engine.service", "rere.serving.http.app"):
    importlib.import_module(name)
there = [name for name in ("datasets", "great_expectations", "trl", "zenml") if importlib.util.find_spec(name)]
assert not there, f"the extra serve brings {', '.join(there)}"
"""


def top_level(wheel: Path) -> set[str]:
    """Names that the wheel puts into an environment's site-packages."""
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return {name for name in names if not name.endswith(".dist-info")}


def try_server(wheel: Path, directory: Path) -> None:
    """Install the wheel with the extra `serve` into `directory`, and start what needs no registry."""
    python, rere = directory / "bin" / "python", directory / "bin" / "rere"
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    commands: tuple[list[str | Path], ...] = (
        [sys.executable, "-m", "venv", directory],
        [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel.resolve()}[serve]"],
        [python, "-m", "pip", "check"],
        [rere, "--version"],
        [rere, "serve", "--help"],
        [python, "-c", SERVER],
    )
    for command in commands:
        print("+", *command, flush=True)
        subprocess.run(command, cwd=directory.parent, env=elsewhere, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel
    if (found := top_level(wheel)) != HOLDS:
        sys.exit(f"{wheel} holds {', '.join(sorted(found))}; expected {', '.join(sorted(HOLDS))}")
    with tempfile.TemporaryDirectory() as scratch:
        try_server(wheel, Path(scratch) / "environment")
    print(f"{wheel}: sound")


if __name__ == "__main__":
    main()
