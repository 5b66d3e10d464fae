"""One move of a champion at a time on this machine; across machines, the log tells who came first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rere.artifacts.manifest import writing
from rere.errors import RereError
from rere.project import file_name, project_root

LOCKS = "RERE_LOCK_DIR"  # environment variable; default: .rere/locks in the project


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the lock of a model's champion; RereError where another process has it."""
    directory = Path(os.environ.get(LOCKS) or project_root() / ".rere" / "locks")
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{file_name(name)}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RereError(
                f"no other move of {name}'s champion", "one that is under way", "wait for it, then look again"
            ) from None
        yield
