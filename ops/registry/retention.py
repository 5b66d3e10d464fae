"""How long runs keep what is large: data, models, tables of artifacts that no registered version needs.

Only their files go, and the steps that made them leave the cache, so that a run that needs them makes them again. The
runs with their settings, reports and checks stay on record, and so do the profiles that drift is measured against.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from zenml.artifact_stores import BaseArtifactStore
from zenml.client import Client
from zenml.models import ArtifactVersionResponse

from materializers.dataset import ROWS
from ops.registry import mlflow_registry as registry
from ops.runtime.mending import artifacts, forget
from rere.errors import RereError

LARGE = (
    *("collected", "dataset", "windows", "catalog", "item_models", "teacher", "sft_model", "preference_model"),
    *("rl_model", "reasoning_model", "prior"),
    *("baselines", "results", "champion_results", "recommendations", "unanswered"),
)
PAGE = 100


@dataclass(frozen=True)
class Removable:
    """An artifact that nothing needs, and the bytes of its files."""

    artifact: ArtifactVersionResponse
    size: int


def removable(older_than: timedelta, now: datetime | None = None) -> list[Removable]:
    """Large artifacts made earlier than that which no registered version needs, oldest first.

    What a version needs: all that its run made or took from the cache, and the rows that its data set was made of. A
    version counts until it is deleted in MLflow, with an alias or without.

    Raises:
        RereError: a run is in progress, which may have taken one of them from the cache.
    """
    client = Client()
    if busy := client.list_pipeline_runs(in_progress=True, size=1).items:
        raise RereError(
            "no run in progress, which may need any of the artifacts",
            f"{busy[0].name}",
            "wait for it; where its process is gone, `rere clean` alone closes it",
        )
    store, limit = client.active_stack.artifact_store, (now or datetime.now(UTC)) - older_than
    kept = needed()
    found = [
        Removable(one, _size(store, one.uri))
        for one in artifacts(None)
        if one.name in LARGE
        and one.id not in kept
        and one.artifact_store_id == store.id
        and one.created.replace(tzinfo=UTC) < limit
    ]
    return sorted((one for one in found if one.size), key=lambda one: one.artifact.created)


def needed() -> set[UUID]:
    """The artifacts that registered versions need.

    Where MLflow knows no version of a model, those that ZenML knows count: another registry may be meant.
    """
    client = Client()
    kept: set[UUID] = set()
    for model in _all(client.list_models):
        there = {f"v{number}" for number in registry.version_numbers(model.name)}
        for version in _all(client.list_model_versions, model=model.id):
            if there and version.name not in there:
                continue
            for one in _all(client.list_artifact_versions, model_version_id=version.id, hydrate=True):
                kept.add(one.id)
                if ROWS in one.run_metadata:
                    kept.add(UUID(str(one.run_metadata[ROWS])))
    return kept


def remove(found: list[Removable]) -> None:
    """Delete their files; the steps that made them leave the cache first, so that none is served from nothing."""
    store = Client().active_stack.artifact_store
    for one in found:
        forget(one.artifact)
        store.rmtree(one.artifact.uri)


def _all(listing: Callable[..., Any], **asked: Any) -> Iterator[Any]:
    """Of all pages."""
    page = listing(size=PAGE, **asked)
    yield from page.items
    for number in range(2, page.total_pages + 1):
        yield from listing(page=number, size=PAGE, **asked).items


def _size(store: BaseArtifactStore, uri: str) -> int:
    """Bytes of all files below an address; 0 where nothing is."""
    if not store.exists(uri):
        return 0
    paths = [f"{os.fsdecode(folder)}/{os.fsdecode(file)}" for folder, _, files in store.walk(uri) for file in files]
    return sum(store.size(path) or 0 for path in paths)
