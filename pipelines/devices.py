"""Whether the workers that a run's stages ask for can be had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zenml.client import Client
from zenml.enums import StackComponentType

from rere.errors import RereError

STAGES = ("sft", "preference", "rl", "evaluation")


def stays_here() -> bool:
    """Whether the active stack runs all steps on this machine."""
    components = Client().active_stack_model.components
    orchestrators = [one.flavor_name for one in components[StackComponentType.ORCHESTRATOR]]
    return orchestrators == ["local"] and StackComponentType.STEP_OPERATOR not in components


def require_devices(settings: Mapping[str, Any]) -> None:
    """RereError where a stage asks for workers that can't be had; for runs that stay on this machine.

    Args:
        settings: settings models by the name of the pipeline's parameter.
    """
    for stage in STAGES:
        if settings.get(stage) is not None:
            try:
                settings[stage].launcher.check()
            except RereError as error:
                expected, got, remedy = error.parts
                raise RereError(f"{expected}, for `{stage}.launcher`", got, remedy) from None
