"""The keys below ZenML's `settings:` of a run configuration, of the pipeline and of each step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zenml.enums import StackComponentType
from zenml.utils.settings_utils import get_general_settings

from rere.config.reading import meant
from rere.errors import RereError


def require_zenml_settings(content: Mapping[str, Any], config: Path) -> None:
    """RereError for keys below `settings` that ZenML passes over without a word.

    Those of a stack component (`orchestrator`, `orchestrator.kubernetes`) depend on its flavour: only ZenML knows them.

    Args:
        content: a run configuration, already of ZenML's types.
    """
    hints = _unknown(content.get("settings") or {}, "settings")
    for name, step in (content.get("steps") or {}).items():
        hints += _unknown((step or {}).get("settings") or {}, f"steps.{name}.settings")
    if hints:
        raise RereError(f"ZenML's settings in {config}", ", ".join(hints), "correct their names")


def _unknown(settings: Mapping[str, Any], path: str) -> list[str]:
    general = get_general_settings()
    known = {*general, *(kind.value for kind in StackComponentType)}
    hints = []
    for name, given in settings.items():
        if name.partition(".")[0] not in known:
            hints.append(f"{path}.{name}{meant(name, known)}")
        elif name in general:
            options = set(general[name].model_fields)
            hints += [f"{path}.{name}.{key}{meant(key, options)}" for key in given or {} if key not in options]
    return hints
