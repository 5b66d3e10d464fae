"""Whether a version was made of the data and settings at hand, and what a run goes on from where the champion was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.registry.recipe import DATA
from ops.registry.zenml_registry import metadata_of
from ops.retraining.base import Base, base_of, find_base
from rere.artifacts.manifest import sha256
from rere.config.ingest import IngestConfig
from rere.config.retraining import RetrainConfig
from rere.data.sources.base import as_source


def source_sums(data: IngestConfig) -> list[str] | None:
    """SHA-256 sums of the source's files, sorted; None for a source without files, of which nothing is known."""
    files = as_source(data.source).files()
    return sorted(sha256(file) for file in files) or None


def recorded_sums(record: Mapping[str, Any]) -> list[str]:
    """The same, of the data that a version was made of."""
    sums = record.get("data")
    return sorted(map(str, sums.values())) if isinstance(sums, dict) else []


def made_of(record: Mapping[str, Any], sums: list[str] | None, settings: Mapping[str, Any]) -> bool:
    """Was it made of files with these sums, by these settings? A hub's data sets are known by their commits.

    Args:
        record: a version's, see `metadata_of`.
        settings: as `recorded` gives them.
    """
    known = sums is not None or bool(settings.get(DATA))
    return known and recorded_sums(record) == (sums or []) and record.get("settings") == settings


def base_with(name: str, data: IngestConfig, retrain: RetrainConfig, settings: Mapping[str, Any]) -> Base | None:
    """What a run with these data and settings goes on from: see `base_of`.

    Where the champion was made of the very same, it is what the champion itself went on from. So a run with nothing new
    is served from the cache and ends at the champion, and doesn't train on with rows that the champion has learned.
    """
    found = base_of(name, retrain)
    if found is None or retrain.base != "champion":
        return found
    record = metadata_of(name, found.version)
    if "base" not in record or not made_of(record, source_sums(data), settings):
        return found
    if not record["base"]:
        return None
    return find_base(name, str(record["base"])) or found
