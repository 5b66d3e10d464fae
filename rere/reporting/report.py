"""The report of a run: one HTML page that needs nothing but itself.

Titles and ids come from outside and are hostile until escaped: the template escapes everything but the plots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import IngestReport
from rere.errors import RereError
from rere.evaluation.evaluator import compare
from rere.evaluation.verdict import Verdict
from rere.reporting.examples import HISTORY, TOP, example, spread
from rere.reporting.layout import FAMILIES, LISTS, by_model, by_part, by_rival, list_metrics, metric_names, subsets
from rere.reporting.page import drawn, environment, lineage_sections, training_plots, training_remarks
from rere.reporting.plots import metric_plot, power_plot

EXAMPLES = 8  # rows shown


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of.

    results: rows of `evaluator.evaluate` of several models
    subject: the model that is reported on
    summary: `evaluator.summarise` of them
    parts: `breakdown.breakdown` of them
    verdict: the gate's, or None where it hasn't been asked
    curves: stage ("sft", "preference", "rl") -> training records, each with `update` and the metrics measured there
    titles: by item index
    histories: item indices, oldest first, of the rows of each model, in their order
    lineage: whatever names the run, nested
    notes: sentences that belong to the verdict, such as that an item model ranks better
    """

    results: pd.DataFrame
    subject: str
    summary: pd.DataFrame
    parts: pd.DataFrame
    config: EvaluationConfig
    verdict: Verdict | None
    curves: Mapping[str, list[dict[str, float]]]
    titles: list[str]
    histories: list[list[int]]
    ingest: IngestReport
    lineage: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def render_report(inputs: ReportInputs) -> str:
    """The page, as HTML text.

    Raises:
        RereError: models that weren't judged on the same rows, or not one history per row.
    """
    models = list(inputs.results["model"].unique())
    subject = str(inputs.subject)
    rivals = [model for model in reversed(models) if model != subject]
    gains = compare(inputs.results, [(subject, rival) for rival in rivals], inputs.config)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            subject=subject,
            models=models,
            rivals=rivals,
            config=inputs.config,
            verdict=inputs.verdict,
            notes=inputs.notes,
            names=metric_names(inputs.config),
            metrics=[by_model(inputs.summary, rows, models) for rows in subsets(inputs.summary)],
            parts=by_part(inputs.parts, models),
            gains=by_rival(gains),
            headline=f"ndcg@{max(inputs.config.ks)}",
            lists=list_metrics(inputs.summary, inputs.config, models),
            list_meanings=LISTS,
            plots=_plots(inputs),
            training_remarks=training_remarks(inputs.curves),
            examples=_examples(inputs, models),
            shown={"top": TOP, "history": HISTORY},
            ingest=inputs.ingest,
            lineage=lineage_sections(inputs.lineage),
        )
    )


def _plots(inputs: ReportInputs) -> dict[str, list[tuple[str, Markup]]]:
    """Section -> (heading, SVG); a curve that was not recorded has no plot."""
    summary = inputs.summary[inputs.summary["rows"] == "all"]
    accuracy: list[tuple[str, str | None]] = [
        (f"{name.upper()}@K by model", metric_plot(summary, name, inputs.config.ks)) for name in FAMILIES
    ]
    gate: list[tuple[str, str | None]] = []
    if inputs.verdict is not None and inputs.verdict.power is not None:
        gate = [("What the gate can see", power_plot(inputs.verdict.power))]
    return {"accuracy": drawn(accuracy), "training": training_plots(inputs.curves), "gate": drawn(gate)}


def _examples(inputs: ReportInputs, models: list[str]) -> list[dict[str, Any]]:
    """Rows where the reported model's first items hold the target, and as many where they don't, evenly spread."""
    tables = {model: inputs.results[inputs.results["model"] == model].reset_index(drop=True) for model in models}
    subject = tables[str(inputs.subject)]
    if len(inputs.histories) != len(subject):
        raise RereError(f"{len(subject)} histories, one per row", str(len(inputs.histories)), "pass the test rows' own")
    if any(not table["row_id"].equals(subject["row_id"]) for table in tables.values()):
        raise RereError("the rows of all models in one order", "different orders", "judge them on one table of rows")
    hit = subject["rank"].between(1, TOP).to_numpy()
    hits = spread(np.flatnonzero(hit).tolist(), EXAMPLES // 2)
    misses = spread(np.flatnonzero(~hit).tolist(), EXAMPLES - len(hits))
    return [example(row, tables, inputs.histories[row], inputs.titles) for row in [*hits, *misses]]
