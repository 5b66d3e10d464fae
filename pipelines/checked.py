"""A ZenML pipeline whose mistakes in settings, and whose users' errors, come out as one clear message.

ZenML 0.98 ignores unknown top-level keys of a run configuration, hides pydantic's message behind a generic
one, and prints two stack traces for a failed step.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.enums import ExecutionMode
from zenml.pipelines.pipeline_definition import Pipeline

from rere.errors import RereError


class CheckedPipeline(Pipeline):
    """Refuses unknown keys anywhere in a run configuration, and says which."""

    def with_options(self, *args: Any, **kwargs: Any) -> Pipeline:
        if config_path := kwargs.get("config_path"):
            self._check_keys(Path(config_path))
        return super().with_options(*args, **kwargs)

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().prepare(*args, **kwargs)
        except ValueError as error:
            if isinstance(error.__cause__, ValidationError):
                raise settings_error(error.__cause__) from None
            raise

    def _check_keys(self, config: Path) -> None:
        content = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise RereError(f"a mapping in {config}", f"a {type(content).__name__}", "see configs/nano.yaml")
        places = {
            "": (content, set(PipelineRunConfiguration.model_fields)),
            "parameters.": (content.get("parameters") or {}, set(inspect.signature(self.entrypoint).parameters)),
        }
        for place, (given, known) in places.items():
            if unknown := sorted(given.keys() - known):
                raise RereError(
                    f"known keys in {config}: {', '.join(place + key for key in sorted(known))}",
                    ", ".join(place + key for key in unknown),
                    "correct or remove them; docs/configuration.md lists the settings",
                )


def checked_pipeline(entrypoint: Callable[..., Any]) -> CheckedPipeline:
    """Decorator: a checked pipeline that stops at the first failed step."""
    built = CheckedPipeline(name=entrypoint.__name__, entrypoint=entrypoint, execution_mode=ExecutionMode.FAIL_FAST)
    built.__doc__ = entrypoint.__doc__
    return built


def settings_error(error: ValidationError) -> RereError:
    """Pydantic's problems, one line, each with its place in the settings."""
    problems = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} (got {problem['input']!r})"
        for problem in error.errors()
    ]
    return RereError(
        "settings as rere/config defines them",
        "; ".join(problems),
        "correct them; docs/configuration.md lists the settings",
    )


def explain_errors() -> None:
    """Let a RereError end the process with its message alone (exit status 1); other errors keep their traces."""
    logging.getLogger("zenml.orchestrators.local.local_orchestrator").addFilter(_without_trace)
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RereError):
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print("\nError.", style="bold red", end=" ")
            console.print(str(error), markup=False)
        else:
            default(kind, error, trace)

    sys.excepthook = hook


def _without_trace(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], RereError):
        record.exc_info = None
    return True
