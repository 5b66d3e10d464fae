"""How the workers of a stage are started. A launcher is one file here and one line in the registry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rere.config.training import LauncherSettings
from rere.runtime.launch import Log


class Launcher(LauncherSettings):
    """Settings of a launcher, and the launcher itself."""

    @abstractmethod
    def check(self) -> None:
        """Before anything starts: RereError where the workers can't be had."""

    @abstractmethod
    def launch(self, worker: str, spec: Mapping[str, Any], work: Path, log: Log | None = None) -> None:
        """Call a worker function in all workers, and wait.

        Every worker is a process of one torch process group. `rere/runtime/launch.py` has what it needs: it ends in
        `Exchange(work).call()`.

        Args:
            worker: `package.module:function`, called with (spec, log).
            spec: JSON.
            work: directory of what they exchange; all workers must see it.
            log: called with the training records of the first worker as they come.

        Raises:
            RereError: too few devices, a worker's mistake in its own words, or a worker that failed or was killed; the
                others are ended.
        """

    def within_reach(self) -> Self:
        """The same with no more workers than can be had where this process is (at least one)."""
        return self
