"""The commands by which a person decides on a judged model."""

from __future__ import annotations

import shlex
from typing import Literal

from ops.registry.stages import Judged
from rere.config.promotion import PromotionConfig

DEFAULT_MODEL = PromotionConfig().model_name  # that the commands take without being told


def decisions(judged: Judged, version: str, decided_by: Literal["gate", "review"]) -> list[tuple[str, str]]:
    """(purpose, command) of what a person may decide; each command works as it stands, from the project's root."""
    model = "" if judged.model == DEFAULT_MODEL else f" --model {shlex.quote(judged.model)}"
    reason = f"{model} --by YOU --reason WHY"
    rollback = f"rere rollback{reason}"
    reject = f"rere reject {version}{reason}"
    if judged.is_champion:
        return [("Nothing is to be decided: it is champion. To take it back:", rollback)]
    if not judged.verdict.passed:
        override = f"rere promote {version}{reason}"
        return [
            ("Leave it; then no later run promotes it by itself:", reject),
            ("Take it in spite of the gate; that stays on record:", override),
        ]
    if decided_by == "gate" and judged.promotes:
        return [
            (
                "The gate decides by itself, so it is champion now, unless a person turned it down. To take it back:",
                rollback,
            ),
            ("Then, so that no later run promotes it again:", reject),
        ]
    return [
        ("Let users have it (refused if the champion has changed meanwhile):", f"rere approve {version}{reason}"),
        ("Keep the champion; no later run promotes this one:", reject),
    ]
