"""The report of a run: one HTML page that needs nothing but itself, and the table for the terminal.

Titles and ids come from outside and are hostile until escaped: the template escapes everything but the plots.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import IngestReport
from rere.errors import RereError
from rere.evaluation.breakdown import COLD, FEW
from rere.evaluation.evaluator import compare
from rere.evaluation.verdict import Verdict
from rere.reporting.examples import HISTORY, TOP, example, spread
from rere.reporting.flat import flat
from rere.reporting.plots import curve_plot, metric_plot, power_plot

FAMILIES = ("hr", "ndcg")
EXAMPLES = 8  # rows shown
SFT_CURVES = {"train_loss": "training", "valid_loss": "validation"}
RL_PLOTS = {  # metric -> heading, label of the y axis
    "reward": ("RL: reward", "mean reward per candidate"),
    "groups_with_hit": ("RL: groups with a hit", "share of groups"),
    "kl": ("RL: distance from the reference", "KL (nats per token)"),
    "diversity": ("RL: diversity", "distinct items per candidate"),
    "valid_ndcg@10": ("RL: validation", "NDCG@10"),
}
LISTS = {  # metric of `summarise` -> heading, what it means
    "coverage": ("Coverage", "share of the catalogue in anyone's list"),
    "diversity": ("Diversity", "share of items that two users' lists don't share"),
    "popularity_bias": ("Popularity", "mean popularity percentile: 0.5 is neutral, 1 only the most popular"),
    "invalid": ("Invalid", "share of slots without an item of the catalogue"),
    "duplicate": ("Repeated", "share of slots that repeat an item of their list"),
}


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of.

    results: rows of `evaluator.evaluate` of several models
    subject: the model that is reported on
    summary: `evaluator.summarise` of them
    parts: `breakdown.breakdown` of them
    verdict: the gate's, or None where it hasn't been asked
    curves: stage ("sft", "rl") -> training records, each with `update` and the metrics measured there
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
            names=_names(inputs.config),
            metrics=[_by_model(inputs.summary, rows, models) for rows in _subsets(inputs.summary)],
            parts=_by_part(inputs.parts, models),
            gains=_by_rival(gains),
            headline=f"ndcg@{max(inputs.config.ks)}",
            lists=_list_metrics(inputs.summary, inputs.config, models),
            list_meanings=LISTS,
            plots=_plots(inputs),
            examples=_examples(inputs, models),
            shown={"top": TOP, "history": HISTORY},
            ingest=inputs.ingest,
            lineage=lineage_sections(inputs.lineage),
        )
    )


def environment() -> Environment:
    """Where the pages' templates are; what is put into them is escaped."""
    return Environment(
        loader=PackageLoader("rere.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sureness(gain: Mapping[Hashable, Any]) -> str:
    """Whether a difference's interval excludes zero: "up", "down", or "open"."""
    return "up" if gain["low"] > 0 else "down" if gain["high"] < 0 else "open"


def lineage_sections(lineage: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Section -> (dotted name, value) pairs."""
    sections = _sections(lineage).items()
    return {section: [(name, _text(leaf)) for name, leaf in flat(value)] for section, value in sections}


def results_table(summary: pd.DataFrame, config: EvaluationConfig) -> Table:
    """HR@K and NDCG@K of every model on all rows, ± half the width of the interval; the best in bold.

    The last columns tell NDCG at the largest K where little is known: of users with short histories, of unseen items.
    """
    own = summary[summary["rows"] == "all"]
    table = Table(
        title=f"{own['n'].max():,} test rows, whole catalogue ranked; ± half of the {config.confidence:.0%} interval"
    )
    table.add_column("Model")
    names = _names(config)
    for name in names:
        table.add_column(name.upper(), justify="right")
    sparse = [part for part in (FEW, COLD) if (summary["rows"] == part).any()]
    for part in sparse:
        table.add_column(f"{names[-1].upper()},\n{part}", justify="right")
    models = list(own["model"].unique())
    found = [(_by_model(summary, "all", models), name) for name in names]
    found += [(_by_model(summary, part, models), names[-1]) for part in sparse]
    for model in models:
        cells = [Text(model)]
        for part_of, name in found:
            cell = part_of["cells"][model][name]
            half = (cell["high"] - cell["low"]) / 2
            cells.append(Text(f"{cell['mean']:.4f}\n±{half:.4f}", style="bold" if cell["best"] else ""))
        table.add_row(*cells)
    return table


def _names(config: EvaluationConfig) -> list[str]:
    return [f"{family}@{k}" for family in FAMILIES for k in config.ks]


def _subsets(summary: pd.DataFrame) -> list[str]:
    """The sets of rows worth a table: the warm ones only where they are not all."""
    sizes = summary.groupby("rows")["n"].max()
    return ["all"] + (["warm"] if sizes.get("warm", sizes["all"]) < sizes["all"] else [])


def _by_model(summary: pd.DataFrame, rows: str, models: list[str]) -> dict[str, Any]:
    """rows, n, and cells: model -> metric -> mean, low, high, best."""
    part = summary[summary["rows"] == rows]
    best = part.groupby("metric")["mean"].transform("max") == part["mean"]
    cells: dict[str, dict[str, Mapping[Hashable, Any]]] = {model: {} for model in models}
    for record in part.assign(best=best).to_dict("records"):
        cells[record["model"]][record["metric"]] = record
    return {"rows": rows, "n": int(part["n"].max()), "cells": cells}


def _by_part(parts: pd.DataFrame, models: list[str]) -> list[dict[str, Any]]:
    """Per kind of part: by, parts (name, rows), and cells: model -> part -> its record and whether it is the best."""
    found = []
    for by, own in parts.groupby("by", sort=False):
        best = own.groupby("part")["ndcg@10"].transform("max") == own["ndcg@10"]
        cells: dict[str, dict[str, Mapping[Hashable, Any]]] = {model: {} for model in models}
        for record in own.assign(best=best).to_dict("records"):
            cells[record["model"]][record["part"]] = record
        sizes = own.drop_duplicates("part")[["part", "n"]].values.tolist()
        found.append({"by": by, "parts": sizes, "cells": cells})
    return found


def _by_rival(gains: pd.DataFrame) -> dict[str, dict[str, Mapping[Hashable, Any]]]:
    """Rival -> metric -> the paired difference on all rows."""
    found: dict[str, dict[str, Mapping[Hashable, Any]]] = {}
    for record in gains.to_dict("records"):
        if record["rows"] != "all":
            continue
        found.setdefault(record["rival"], {})[record["metric"]] = {**record, "sure": sureness(record)}
    return found


def _list_metrics(summary: pd.DataFrame, config: EvaluationConfig, models: list[str]) -> dict[str, dict[str, float]]:
    """Model -> list metric (of `LISTS`, at the largest K where it has one) -> value."""
    part = summary[summary["rows"] == "all"].set_index(["model", "metric"])["mean"]
    return {model: {name: float(part[model, list_metric(name, config)]) for name in LISTS} for model in models}


def list_metric(name: str, config: EvaluationConfig) -> str:
    """What `summarise` calls a metric of `LISTS`: at the largest K, where it has one."""
    return name if name in ("invalid", "duplicate") else f"{name}@{max(config.ks)}"


def _plots(inputs: ReportInputs) -> dict[str, list[tuple[str, Markup]]]:
    """Section -> (heading, SVG); a curve that was not recorded has no plot."""
    summary = inputs.summary[inputs.summary["rows"] == "all"]
    accuracy: list[tuple[str, str | None]] = [
        (f"{name.upper()}@K by model", metric_plot(summary, name, inputs.config.ks)) for name in FAMILIES
    ]
    gate: list[tuple[str, str | None]] = []
    if inputs.verdict is not None and inputs.verdict.power is not None:
        gate = [("What the gate can see", power_plot(inputs.verdict.power))]
    return {"accuracy": _drawn(accuracy), "training": training_plots(inputs.curves), "gate": _drawn(gate)}


def training_plots(curves: Mapping[str, list[dict[str, float]]]) -> list[tuple[str, Markup]]:
    """(heading, SVG) of what the stages ("sft", "rl") recorded."""
    plots = [("SFT: loss", curve_plot(curves.get("sft", []), SFT_CURVES, "loss (nats per token)"))]
    for name, (heading, label) in RL_PLOTS.items():
        plots.append((heading, curve_plot(curves.get("rl", []), {name: heading}, label)))
    return _drawn(plots)


def _drawn(plots: list[tuple[str, str | None]]) -> list[tuple[str, Markup]]:
    return [(heading, Markup(svg)) for heading, svg in plots if svg]


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


def _sections(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level mappings are sections of their own; single facts come first, together."""
    single = {name: value for name, value in lineage.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in lineage.items() if isinstance(value, Mapping) and value}
    return ({"run": single} if single else {}) | nested


def _text(value: Any) -> str:
    """A value as the page shows it."""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return "none" if value is None or value == "" else str(value)
