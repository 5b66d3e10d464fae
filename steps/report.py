"""The model report: one page that opens offline, in the dashboard and as a file."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, step
from zenml.types import HTMLString

from ops.registry.stages import Judged
from ops.runtime.cache_keys import cache_policy
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import Dataset, Windows
from rere.models.checkpoint import Checkpoint


@step(cache_policy=cache_policy(__name__))
def report(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    sft_model: Checkpoint,
    results: pd.DataFrame,
    metrics: pd.DataFrame,
    judged: Judged,
    evaluation: EvaluationConfig,
    preference_model: Checkpoint | None = None,
    rl_model: Checkpoint | None = None,
) -> Annotated[HTMLString, ArtifactConfig(name="report")]:
    """Render it.

    Args:
        preference_model, rl_model: of the stages that ran.
        metrics: of all models, by the evaluation's method; where the gate's is another, they are made anew by that.
    """
    from rere.artifacts.provenance import provenance
    from rere.data.sequences import indexed_rows, training_counts
    from rere.evaluation.breakdown import breakdown, sparse_rows
    from rere.evaluation.evaluator import summarise
    from rere.recommenders.labels import to_serve
    from rere.recommenders.trained import Trained
    from rere.reporting.method import gate_method
    from rere.reporting.report import ReportInputs, render_report

    rows, counts = windows.of("test"), training_counts(dataset)
    of_items = dict(zip(catalog.item_ids, counts.tolist(), strict=True))
    method = gate_method(evaluation, judged.gate)
    if method != evaluation:
        metrics = summarise(results, method, counts, sparse_rows(rows, of_items))
    page = render_report(
        ReportInputs(
            results=results,
            subject=to_serve(results["model"]),
            summary=metrics,
            parts=breakdown(results, rows, of_items, method),
            config=method,
            verdict=judged.verdict,
            notes=judged.notes,
            curves=Trained(sft_model, preference_model, rl_model).curves,
            titles=catalog.titles,
            histories=indexed_rows(rows, catalog.index_of)[0],
            ingest=dataset.report,
            lineage={
                "provenance": provenance(judged.seeds, judged.submitted),
                "windows": judged.windows,
                "settings": judged.settings,
            },
        )
    )
    return HTMLString(page)
