"""The first line of a run: what will run, on what, and about how long."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.pipelines.pipeline_definition import Pipeline

from rere.config.variants import Variant

UNKNOWN = (
    "How long depends on data, model and machine; the default on MovieLens-100K takes about 10 minutes on two cores"
)
TUNING = "How long depends on how many trials are missing; a study that was stopped goes on"


def announce(pipeline: Pipeline, settings: Mapping[str, Any]) -> None:
    """Print it to standard error.

    Args:
        settings: the pipeline's settings models by parameter.
    """
    what = (pipeline.entrypoint.__doc__ or "").splitlines()[0].rstrip(".")
    stack = Client().active_stack_model.name
    print(f"{pipeline.name}: {what}. {subject(settings)}Stack: {stack}. {duration(pipeline.name)}.", file=sys.stderr)


def subject(settings: Mapping[str, Any]) -> str:
    """`Data: tables (interactions.csv). `, where the pipeline reads a source."""
    source = getattr(settings.get("data"), "source", None)
    if not isinstance(source, Variant):
        return ""
    files = [str(value) for _, value in source if isinstance(value, Path) or "://" in str(value)]
    return f"Data: {source.type}{f' ({files[0]})' if files else ''}. "


def duration(name: str) -> str:
    """What the last completed run took."""
    if name == "tune_pipeline":
        return TUNING
    found = Client().list_pipeline_runs(pipeline=name, status="completed", sort_by="desc:created", size=1).items
    if not found or found[0].end_time is None or found[0].start_time is None:
        return UNKNOWN
    seconds = (found[0].end_time - found[0].start_time).total_seconds()
    took = f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"The last run took {took}; steps that nothing has changed for since come from the cache"
