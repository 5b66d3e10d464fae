"""Whether the machine has the GPUs that a run's stages ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from zenml.client import Client
from zenml.enums import StackComponentType

from rere.errors import RereError

STAGES = ("sft", "rl", "evaluation")


def stays_here() -> bool:
    """Whether the active stack runs all steps on this machine."""
    components = Client().active_stack_model.components
    orchestrators = [one.flavor_name for one in components[StackComponentType.ORCHESTRATOR]]
    return orchestrators == ["local"] and StackComponentType.STEP_OPERATOR not in components


def require_devices(settings: Mapping[str, Any]) -> None:
    """RereError where a stage asks for more GPUs than this machine has; for runs that stay on it.

    Args:
        settings: settings models by the name of the pipeline's parameter.
    """
    if not torch.cuda.is_available():
        return
    for stage in STAGES:
        if stage in settings and (asked := settings[stage].processes) > torch.cuda.device_count():
            raise RereError(
                f"{asked} GPUs, one per process, for `{stage}.processes`",
                str(torch.cuda.device_count()),
                "lower `processes`, or use a larger machine",
            )
