"""The names of a pipeline's steps, by which a run configuration's `steps:` gives settings to each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zenml.config.step_configurations import StepConfigurationUpdate
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.steps import BaseStep

from rere.config.reading import meant
from rere.errors import RereError


def require_steps(pipeline: Pipeline, steps: Mapping[str, Any], config: Path) -> None:
    """RereError for names that are no step's, or no setting's of a step: ZenML passes over them without a word.

    Args:
        steps: what stands under `steps` in the run configuration, already of ZenML's types.
    """
    known, options = step_names(pipeline), set(StepConfigurationUpdate.model_fields)
    hints = [f"{name}{meant(name, known)}" for name in steps if name not in known]
    for name, given in steps.items():
        hints += [f"{name}.{key}{meant(key, options)}" for key in given or {} if key not in options]
    if hints:
        raise RereError(
            f"steps of {pipeline.name}, with ZenML's settings, under `steps` in {config}",
            ", ".join(hints),
            "correct their names",
        )


def step_names(pipeline: Pipeline) -> set[str]:
    """Those of all steps in the code of the pipeline and of the functions that it shares with others."""
    names: set[str] = set()
    waiting: list[Callable[..., Any]] = [pipeline.entrypoint]
    seen = set(waiting)
    while waiting:
        for value in inspect.getclosurevars(waiting.pop()).globals.values():
            if isinstance(value, BaseStep):
                names.add(value.name)
            elif inspect.isfunction(value) and value.__module__.startswith(f"{__package__}.") and value not in seen:
                waiting.append(value)
                seen.add(value)
    return names
