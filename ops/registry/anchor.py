"""The anchor: the best champion on record (MLflow alias `anchor`), against which small losses add up.

The first champion is it; a champion that was surely better than the anchor takes its place. A person may put it
elsewhere (`rere promote --as-anchor`), as when a loss is accepted.
"""

from __future__ import annotations

from ops.registry import champion_log as log
from ops.registry import mlflow_registry as registry

ANCHOR = "anchor"


def anchor_version(name: str) -> tuple[str | None, str]:
    """The anchor, or None where there is none that counts; and why one doesn't, empty where there is nothing to say."""
    version = registry.version_by_alias(name, ANCHOR)
    turned_down = None if version is None else log.withdrawn(name, version)
    if turned_down is None:
        return version, ""
    return None, (
        f"Version {version}, the best champion on record, was turned down since ({turned_down.reason}); "
        "losses are counted from the present champion on."
    )


def follow_champion(name: str, version: str, surely_better: bool) -> None:
    """After a move of the champion: the new one becomes the anchor if it is surely better, or if there is none."""
    if surely_better or anchor_version(name)[0] is None:
        registry.set_alias(name, ANCHOR, version)
