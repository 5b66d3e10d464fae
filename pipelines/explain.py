"""Users' errors come out as one clear message: ZenML prints two stack traces for a failed step."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from rich.console import Console

from pipelines.quiet import quieten
from rere.artifacts.manifest import disk_problem
from rere.errors import RereError
from rere.project import project_root


def explain_errors() -> None:
    """Let a RereError end the process with its message alone (exit status 1); other errors keep their traces."""
    quieten()
    logging.getLogger("zenml.orchestrators.local.local_orchestrator").addFilter(_without_trace)
    logging.getLogger("zenml.pipelines.pipeline_definition").addFilter(_without_advice)
    logging.getLogger("zenml.orchestrators.step_launcher").addFilter(_once)
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, RereError):
            error = disk_problem(error, project_root() / ".rere") or error
        if isinstance(error, RereError):
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print("\nError.", style="bold red", end=" ")
            console.print(str(error), markup=False)
        else:
            default(kind, error, trace)

    sys.excepthook = hook


def _without_advice(record: logging.LogRecord) -> bool:
    """ZenML's advice after each run is a command for which this environment lacks packages: ours are in the summary."""
    return "zenml login --local" not in record.getMessage()


def _without_trace(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, RereError) or (error is not None and disk_problem(error, project_root() / ".rere")):
        record.exc_info = None
    return True


def _once(record: logging.LogRecord) -> bool:
    """A step's RereError is what the process ends with: here only the step is named."""
    said = record.getMessage()
    if said.startswith("Failed to run step") and ". Fix: " in said:
        record.msg, record.args = said.partition(": ")[0] + ".", ()
    return True
