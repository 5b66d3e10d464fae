"""What a promotion review shows, gathered from the run and from the champion's record."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from ops.gate.decisions import decisions
from ops.registry.stages import VERSION, Judged
from ops.registry.zenml_registry import metadata_of
from rere.artifacts.provenance import provenance
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import GateConfig
from rere.data.dataset import Dataset, Windows
from rere.data.sequences import indexed_rows, training_counts
from rere.data.validation_report import ValidationReport
from rere.evaluation.evaluator import results_of
from rere.evaluation.segments import segments_of
from rere.evaluation.verdict import LATENCY, SIZE
from rere.models.checkpoint import Checkpoint
from rere.recommenders.labels import Label, to_serve
from rere.recommenders.trained import Trained
from rere.reporting.in_words import Standing
from rere.reporting.review import ReviewInputs

SHOWN = ("mlflow_model", "content", "data", "windows", "provenance")  # of the champion's record


def review_inputs(
    judged: Judged,
    results: pd.DataFrame,
    champion_results: pd.DataFrame,
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    validation: tuple[ValidationReport, ValidationReport],
    trained: Trained,
    evaluation: EvaluationConfig,
    gate: GateConfig,
    decided_by: Literal["gate", "review"],
) -> ReviewInputs:
    """The challenger beside the champion, or beside SFT where no champion was judged.

    Args:
        validation: of the data set and of the split.
    """
    rows, alone = windows.of("test"), champion_results.empty
    data_validation, split_validation = validation
    return ReviewInputs(
        model=judged.model,
        version=VERSION,
        content=judged.content,
        standing=_standing(judged, alone),
        commands=decisions(judged, VERSION, decided_by),
        concerns=_concerns(judged),
        verdict=judged.verdict,
        notes=judged.notes,
        challenger=results_of(results, to_serve(results["model"])),
        rival=results_of(results, Label.SFT) if alone else champion_results,
        rival_name=_without_champion(judged) if alone else f"champion, version {judged.champion}",
        popularity=results_of(results, Label.POPULARITY),
        segments=segments_of(dataset, rows, gate),
        training_counts=training_counts(dataset),
        titles=catalog.titles,
        histories=indexed_rows(rows, catalog.index_of)[0],
        validation=data_validation.having("warning") + split_validation.having("warning"),
        drift=data_validation.drift,
        curves=trained.curves,
        cost=_cost(judged, trained.by_name),
        lineage=_lineage(judged, trained.by_name),
        gate=gate,
        config=evaluation,
    )


def _without_champion(judged: Judged) -> str:
    return f"SFT ({'it is the champion itself' if judged.is_champion else 'no champion to compare with'})"


def _standing(judged: Judged, alone: bool) -> Standing:
    if judged.is_champion:
        return "champion"
    return ("first" if judged.champion is None else "unjudged") if alone else "challenger"


def _concerns(judged: Judged) -> tuple[str, ...]:
    """Why the gate doesn't decide alone, beside what the notes say."""
    laxer = "; ".join(judged.laxer_than_policy)
    return (f"This run's gate asks less than the policy of {judged.model}: {laxer}.",) if laxer else ()


def _cost(judged: Judged, trained: dict[str, Checkpoint]) -> list[tuple[str, str]]:
    """Time on the machine of the run (what an hour of it costs, its owner knows), and what serving takes."""
    seconds = {stage: float(model.facts().get("seconds", 0)) for stage, model in trained.items()}
    total = sum(seconds.values())
    measured = {check.name: check.value for check in judged.verdict.checks if check.value is not None}
    served = {name: measured[name] for name in (LATENCY, SIZE) if name in measured}
    units = {LATENCY: ("A request alone", "{:,.1f} ms"), SIZE: ("Model files", "{:,.1f} MiB")}
    return [
        *((f"{stage} training", f"{spent:,.0f} s") for stage, spent in seconds.items()),
        ("All training", f"{total:,.0f} s, {total / 3600:.2f} machine hours"),
        *((units[name][0], units[name][1].format(value)) for name, value in served.items()),
    ]


def _parent(facts: dict[str, Any]) -> Any:
    """What a training started from: an earlier model's identity, or the backbone."""
    return facts.get("parent") or facts.get("start") or facts.get("backbone")


def _lineage(judged: Judged, trained: dict[str, Checkpoint]) -> dict[str, Any]:
    """Of the challenger and, as far as they are on record, of the champion."""
    challenger = {
        "data": judged.data,
        "windows": judged.windows,
        "content": judged.content,
        "parents": {stage: _parent(model.facts()) for stage, model in trained.items()},
        **provenance(judged.seeds, judged.submitted),
    }
    theirs = metadata_of(judged.model, judged.champion) if judged.champion else {}
    champion = {key: theirs[key] for key in SHOWN if key in theirs}
    return {"challenger": challenger, "settings": judged.settings, "champion": champion}
