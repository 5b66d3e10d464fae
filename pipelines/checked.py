"""A ZenML pipeline whose mistakes in settings come out as one clear message.

ZenML 0.98 ignores unknown top-level keys of a run configuration, and hides pydantic's message behind a generic one.
"""

from __future__ import annotations

import inspect
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.enums import ExecutionMode, StackComponentType
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

from ops.alerts.hooks import tell_failure
from ops.runtime.stopping import stoppable
from ops.runtime.unfinished import close_dead, running
from pipelines.announce import announce
from pipelines.devices import require_devices, stays_here
from pipelines.named_files import require_files
from pipelines.step_names import require_steps
from pipelines.zenml_settings import require_zenml_settings
from rere.artifacts.manifest import writing
from rere.config.reading import DOCUMENTATION, meant, read_yaml, settings_error, validated
from rere.errors import RereError
from rere.project import in_project, project_root

STOPPED = (
    "\nStopped. To go on, run the same command again: finished steps come from the cache, and a training goes on from "
    "its last checkpoint. `rere clean` removes what it left instead."
)


class CheckedPipeline(Pipeline):
    """Refuses unknown keys anywhere in a run configuration, and says which. Runs in the project from any directory."""

    def with_options(self, *args: Any, **kwargs: Any) -> Pipeline:
        if config_path := kwargs.get("config_path"):
            settings_of(self, Path(config_path))
            kwargs["config_path"] = str(Path(config_path).resolve())  # it is read again when the pipeline runs
        try:
            return super().with_options(*args, **kwargs)
        except (ValueError, TypeError, KeyError) as error:  # ZenML's own settings, which only it understands
            raise RereError("a run configuration that ZenML takes", str(error), f"correct {config_path}") from None

    def __call__(self, *args: Any, **kwargs: Any) -> PipelineRunResponse | None:
        with in_project(), writing(project_root() / ".rere"):
            _require_tracker()
            config = self._run_args.get("config_path")
            settings = settings_of(self, Path(config)) if config else defaults_of(self)
            if stays_here():
                require_devices(settings)
                require_files(settings)
            announce(self, settings)
            for run in close_dead():
                logging.getLogger(__name__).warning("%s was killed: ZenML now lists it as failed.", run)
            try:
                with running(), stoppable():
                    return super().__call__(*args, **kwargs)
            except KeyboardInterrupt as stop:
                close_dead()
                print(STOPPED, file=sys.stderr)
                raise SystemExit(128 + (stop.args[0] if stop.args else signal.SIGINT)) from None

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().prepare(*args, **kwargs)
        except ValueError as error:
            if isinstance(error.__cause__, ValidationError):
                raise settings_error(error.__cause__, parameters_model(self), "parameters") from None
            raise


def settings_of(pipeline: Pipeline, config: Path) -> dict[str, Any]:
    """The pipeline's settings by parameter as a run configuration has them, defaults filled in.

    Raises:
        RereError: a file that can't be read, unknown keys, steps or ZenML settings, values of a wrong type or out of
            range.
    """
    content = read_yaml(config)
    known = set(PipelineRunConfiguration.model_fields)
    if unknown := sorted(content.keys() - known):
        under = set(parameters_model(pipeline).model_fields)
        hints = [
            f"{key} (it belongs under `parameters:`)" if key in under else f"{key}{meant(key, known)}"
            for key in unknown
        ]
        raise RereError(
            f"ZenML's keys and `parameters` in {config}", ", ".join(hints), f"correct them; {DOCUMENTATION}"
        )
    run = validated(PipelineRunConfiguration, content, str(config))
    require_steps(pipeline, content.get("steps") or {}, config)
    require_zenml_settings(content, config)
    chosen = validated(parameters_model(pipeline), run.parameters or {}, f"the `parameters` in {config}")
    return {name: getattr(chosen, name) for name in type(chosen).model_fields}


def defaults_of(pipeline: Pipeline) -> dict[str, Any]:
    """The pipeline's settings by parameter, all at their defaults."""
    parameters = inspect.signature(pipeline.entrypoint).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def parameters_model(pipeline: Pipeline) -> type[BaseModel]:
    """A model with a pipeline's parameters as fields; other keys are refused."""
    kinds = inspect.get_annotations(pipeline.entrypoint, eval_str=True)
    parameters = inspect.signature(pipeline.entrypoint).parameters
    fields: dict[str, Any] = {name: (kinds[name], parameter.default) for name, parameter in parameters.items()}
    return create_model("Parameters", __config__=ConfigDict(extra="forbid"), **fields)


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
    """Decorator: a checked pipeline that stops at the first failed step, and tells the stack's alerter."""
    built = CheckedPipeline(
        name=entrypoint.__name__,
        entrypoint=entrypoint,
        execution_mode=ExecutionMode.FAIL_FAST,
        on_failure=tell_failure,
    )
    built.__doc__ = entrypoint.__doc__
    return built
