"""The model report: one page that opens offline, in the dashboard and as a file."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import ArtifactConfig, step
from zenml.types import HTMLString

from ops.registry.decisions import Decision
from ops.runtime.cache_keys import cache_policy
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.models.backbone import Checkpoint


@step(cache_policy=cache_policy(__name__))
def report(
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    tuned: Checkpoint,
    reinforced: Checkpoint,
    results: pd.DataFrame,
    metrics: pd.DataFrame,
    decision: Decision,
    evaluation: EvaluationConfig,
    settings: dict[str, Any],
) -> Annotated[HTMLString, ArtifactConfig(name="report")]:
    """Render it. `settings` are the run's, by stage."""
    from rere.artifacts.provenance import provenance
    from rere.reporting.report import ReportInputs, render_report

    seeds = {stage: chosen["seed"] for stage, chosen in settings.items() if "seed" in chosen}
    index = catalog.index_of
    page = render_report(
        ReportInputs(
            results=results,
            summary=metrics,
            config=evaluation,
            verdict=decision.verdict,
            curves={"sft": tuned.curves(), "rl": reinforced.curves()},
            titles=catalog.titles,
            histories=[[index[item] for item in history] for history in windows.of("test")["history"]],
            ingest=dataset.report,
            lineage={"provenance": provenance(seeds), "windows": windows.fingerprint, "settings": settings},
        )
    )
    return HTMLString(page)
