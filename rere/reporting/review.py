"""The promotion review: what a person must see before a model reaches users, on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import GateConfig
from rere.data.validation_report import Check as DataCheck
from rere.data.validation_report import DriftRow
from rere.evaluation.better_rival import WARNING
from rere.evaluation.evaluator import compare, paired, summarise
from rere.evaluation.metrics import row_metric
from rere.evaluation.segments import segment_gains, shared_confidence
from rere.evaluation.verdict import Verdict
from rere.recommenders.labels import Label
from rere.reporting import plots
from rere.reporting.examples import TOP, example, spread
from rere.reporting.in_words import Standing, hits, in_one_sentence, risks
from rere.reporting.layout import FAMILIES, LISTS, list_metric
from rere.reporting.method import gate_method
from rere.reporting.page import environment, lineage_sections, sureness, training_plots, training_remarks

USERS, OPEN, REGRESSIONS = 20, 5, 10  # users shown, of them at once; rows listed
CHALLENGER = str(Label.CHALLENGER)


@dataclass(frozen=True)
class ReviewInputs:
    """What a review is made of.

    model, version, content: the registered model's name, the challenger's number, and its content fingerprint
    standing: a challenger of a champion, the first model that users get, the champion itself, or the challenger of a
        champion that couldn't be judged
    commands: (purpose, command) of the decisions that a person has; they work as they stand
    concerns: sentences on why a person decides, beside the warnings among `notes`
    challenger, rival: results of `evaluate` on the same rows; the rival is the champion, or SFT where there is none
    rival_name: how the rival is called on the page
    popularity: results of the most popular items, which users would get without any model
    segments: as from `rere.evaluation.segments.segments`
    training_counts: (I,) training interactions per item
    titles: by item index
    histories: item indices, oldest first, of the challenger's rows, in their order
    validation: the data validation's checks that warned
    drift: how far the data moved from the last accepted data set
    curves: stage ("sft", "preference", "rl") -> training records
    cost: (stage, time) as text
    lineage: nested; the challenger's and the champion's
    """

    model: str
    version: str
    content: str
    standing: Standing
    commands: list[tuple[str, str]]
    concerns: tuple[str, ...]
    verdict: Verdict
    notes: tuple[str, ...]
    challenger: pd.DataFrame
    rival: pd.DataFrame
    rival_name: str
    popularity: pd.DataFrame
    segments: pd.DataFrame
    training_counts: np.ndarray
    titles: list[str]
    histories: list[list[int]]
    validation: list[DataCheck]
    drift: tuple[DriftRow, ...]
    curves: Mapping[str, list[dict[str, float]]]
    cost: list[tuple[str, str]]
    lineage: Mapping[str, Any]
    gate: GateConfig
    config: EvaluationConfig


def render_review(inputs: ReviewInputs) -> str:
    """The page, as HTML text; RereError where both weren't judged on the same rows.

    All intervals and p-values on it are of one method, the gate's: its resamples, seed and confidence.
    """
    method = gate_method(inputs.config, inputs.gate)
    history_of = dict(zip(inputs.challenger["row_id"], inputs.histories, strict=True))
    ours, theirs = paired(inputs.challenger, inputs.rival)
    both = pd.concat([theirs.assign(model=inputs.rival_name), ours.assign(model=CHALLENGER)], ignore_index=True)
    summary = summarise(both, method, inputs.training_counts)
    summary = summary[summary["rows"] == "all"]
    tables = {inputs.rival_name: theirs, CHALLENGER: ours}
    change = _values(ours, inputs.gate.metric) - _values(theirs, inputs.gate.metric)
    segments = segment_gains(ours, theirs, inputs.segments, inputs.gate)
    alone = inputs.standing in ("first", "unjudged")
    found = hits(ours, inputs.popularity if alone else theirs, inputs.gate)
    instead = "the most popular items" if alone else f"the {inputs.rival_name}"
    return (
        environment()
        .get_template("review.html.j2")
        .render(
            model=inputs.model,
            version=inputs.version,
            content=inputs.content,
            sentence=in_one_sentence(found, inputs.standing, instead, inputs.gate.confidence),
            commands=inputs.commands,
            risks=risks(
                found,
                [] if alone else segments,
                [*inputs.concerns, *(note.removeprefix(WARNING) for note in inputs.notes if note.startswith(WARNING))],
                len(inputs.validation),
            ),
            rival=inputs.rival_name,
            rows=len(ours),
            verdict=inputs.verdict,
            notes=[note for note in inputs.notes if not note.startswith(WARNING)],
            metrics=_metrics(both, summary, inputs, method),
            lists=_lists(summary, inputs),
            plots=[
                (f"{name.upper()}@K", Markup(plots.metric_plot(summary, name, inputs.config.ks))) for name in FAMILIES
            ],
            segments=segments,
            segment_confidence=shared_confidence(inputs.segments, inputs.gate),
            regressions=_regressions(ours, theirs, change, inputs.titles),
            worse=int((change < 0).sum()),
            better=int((change > 0).sum()),
            examples=[
                example(row, tables, history_of[ours["row_id"][row]], inputs.titles)
                for row in spread(range(len(ours)), USERS)
            ],
            top=TOP,
            open=OPEN,
            training=training_plots(inputs.curves),
            training_remarks=training_remarks(inputs.curves),
            validation=inputs.validation,
            drift=inputs.drift,
            cost=inputs.cost,
            lineage=lineage_sections(inputs.lineage),
            gate=inputs.gate,
            config=method,
        )
    )


def _values(results: pd.DataFrame, metric: str) -> np.ndarray:
    return row_metric(metric, results["rank"].to_numpy())


def _metrics(
    both: pd.DataFrame, summary: pd.DataFrame, inputs: ReviewInputs, method: EvaluationConfig
) -> list[dict[str, Any]]:
    cells: dict[tuple[Any, Any], dict[Hashable, Any]] = {
        (record["model"], record["metric"]): record for record in summary.to_dict("records")
    }
    gains = compare(both, [(CHALLENGER, inputs.rival_name)], method)
    return [
        {
            "name": record["metric"],
            "rival": cells[inputs.rival_name, record["metric"]],
            "challenger": cells[CHALLENGER, record["metric"]],
            "gain": {**record, "sure": sureness(record)},
        }
        for record in gains[gains["rows"] == "all"].to_dict("records")
    ]


def _lists(summary: pd.DataFrame, inputs: ReviewInputs) -> list[tuple[str, float, float]]:
    """(name, rival's value, challenger's value) of coverage, diversity, popularity bias, validity."""
    values, found = summary.set_index(["model", "metric"])["mean"], []
    for name, (heading, _) in LISTS.items():
        at = list_metric(name, inputs.config)
        found.append((heading, float(values[inputs.rival_name, at]), float(values[CHALLENGER, at])))
    return found


def _regressions(
    ours: pd.DataFrame, theirs: pd.DataFrame, change: np.ndarray, titles: list[str]
) -> list[dict[str, Any]]:
    order = np.argsort(change, kind="stable")[:REGRESSIONS]
    return [
        {
            "user": ours["user_id"][row],
            "target": titles[ours["target"][row]],
            "warm": ours["warm"][row],
            "before": int(theirs["rank"][row]),
            "now": int(ours["rank"][row]),
            "change": float(change[row]),
        }
        for row in order
        if change[row] < 0
    ]
