"""The smallest pipeline with something to see: two pods that look around, one division that can fail.

Copied to the root of the tests' project, so that pods find it as `tiny`.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from zenml import pipeline, step

MINE = ("/app/mine", "~/mine", "/tmp/mine")


@step(enable_cache=False)
def look(number: int) -> dict[str, str]:
    """Where the step runs and what it finds there, before it leaves files of its own."""
    paths = [Path(path).expanduser() for path in MINE]
    found = [str(path) for path in paths if path.exists()]
    for path in paths:
        path.write_text(str(number))
    return {
        "host": socket.gethostname(),
        "variable": os.environ["HOSTNAME"],
        "directory": os.getcwd(),
        "home": str(Path.home()),
        "code": __file__,
        "found": ",".join(found),
        "processes": str(sum(name.isdigit() for name in os.listdir("/proc"))),
        "secret": os.environ.get("DRILL_SECRET", ""),
    }


@step(enable_cache=False)
def divide(first: dict[str, str], second: dict[str, str], by: int) -> float:
    """Number of pods that had looked, divided."""
    return len({first["host"], second["host"]}) / by


@pipeline(enable_cache=False)
def tiny(by: int = 1) -> None:
    """Look twice, then divide."""
    divide(look(1), look(2), by)
