"""The anchor: the best champion on record (MLflow alias `anchor`), against which small losses add up.

The first champion is it; a champion that was surely better than the anchor replaces it. A person may put it
elsewhere (`rere promote --as-anchor`), as when a loss is accepted. MLflow drops an alias together with its version, so
the registered model's tag of the same name keeps which version it was: a deleted anchor is told, not replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient

from ops.registry import champion
from ops.registry import mlflow_registry as registry

ANCHOR = "anchor"  # the alias, and the tag


@dataclass(frozen=True)
class AnchorOnRecord:
    """version: the one that counts; lost: the one that would, but was deleted in MLflow; note: why none counts."""

    version: str | None
    lost: str | None
    note: str


def find_anchor(name: str) -> AnchorOnRecord:
    """The best champion on record; nothing of the kind before the first champion."""
    version = registry.version_by_alias(name, ANCHOR)
    noted = registry.model_tags(name).get(ANCHOR)
    if version is None and noted is not None and noted not in registry.version_numbers(name):
        return AnchorOnRecord(
            None,
            noted,
            f"Version {noted}, the best champion on record, was deleted in MLflow, so nobody knows how much was lost "
            "since: no run promotes by itself. A person may (`rere approve`, `rere promote`); losses are then counted "
            "from that version on.",
        )
    turned_down = None if version is None else champion.withdrawn(name, version)
    if turned_down is None:
        return AnchorOnRecord(version, None, "")
    return AnchorOnRecord(
        None,
        None,
        f"Version {version}, the best champion on record, was turned down since ({turned_down.reason}); "
        "losses are counted from the present champion on.",
    )


def follow_champion(name: str, version: str, surely_better: bool) -> str:
    """After a move of the champion: the new one becomes the anchor if it is surely better, or if there is none.

    Returns:
        What people must know: that a deleted anchor was replaced. Empty otherwise.
    """
    found = find_anchor(name)
    if surely_better or found.version is None:
        registry.set_alias(name, ANCHOR, version)
        MlflowClient().set_registered_model_tag(name, ANCHOR, version)
    if found.lost is None:
        return ""
    return (
        f"Version {found.lost}, the best champion on record, was deleted in MLflow: "
        f"losses are counted from version {version} on."
    )
