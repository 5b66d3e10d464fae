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
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.enums import ExecutionMode, StackComponentType
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

from rere.errors import RereError
from rere.project import in_project


class CheckedPipeline(Pipeline):
    """Refuses unknown keys anywhere in a run configuration, and says which. Runs in the project from any directory."""

    def with_options(self, *args: Any, **kwargs: Any) -> Pipeline:
        if config_path := kwargs.get("config_path"):
            self._check_keys(Path(config_path))
            kwargs["config_path"] = str(Path(config_path).resolve())  # it is read again when the pipeline runs
        return super().with_options(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> PipelineRunResponse | None:
        with in_project():
            _require_tracker()
            return super().__call__(*args, **kwargs)

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


def _require_tracker() -> None:
    """RereError on a stack that the pipeline could not end on: training takes long, and the registry comes last."""
    stack = Client().active_stack_model
    if StackComponentType.EXPERIMENT_TRACKER not in stack.components:
        raise RereError(
            "a stack with an MLflow experiment tracker, whose registry takes the model",
            f"the stack {stack.name!r} of {GlobalConfiguration().config_directory}, which has none",
            "run `make stack` once and `source .venv/bin/activate` in each new shell, or use `rere run`",
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
