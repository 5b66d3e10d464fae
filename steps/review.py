"""The promotion review: a page for the person who decides, also in the dashboard and with the registered version."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import ArtifactConfig, step

from ops.registry.stages import Judged, Reviewed, StageMaterializer
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import GateConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport
from rere.models.backbone import Checkpoint

SHOWN = ("mlflow_model", "content", "data", "windows", "provenance")  # of the champion's record


@step(enable_cache=False, output_materializers=StageMaterializer)
def review(
    *,
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    data_validation: ValidationReport,
    split_validation: ValidationReport,
    sft_model: Checkpoint,
    rl_model: Checkpoint,
    results: pd.DataFrame,
    champion_results: pd.DataFrame,
    judged: Judged,
    evaluation: EvaluationConfig,
    config: GateConfig,
) -> Annotated[Reviewed, ArtifactConfig(name="review")]:
    """Render it; beside the champion, or beside SFT where no champion was judged."""
    from rere.data.sequences import indexed_rows, training_counts
    from rere.evaluation.evaluator import results_of
    from rere.evaluation.segments import segments_of
    from rere.recommenders.labels import Label
    from rere.reporting.review import ReviewInputs, render_review

    rows = windows.of("test")
    alone = champion_results.empty
    page = render_review(
        ReviewInputs(
            model=judged.model,
            content=judged.content,
            verdict=judged.verdict,
            notes=judged.notes,
            challenger=results_of(results, Label.RL),
            rival=results_of(results, Label.SFT) if alone else champion_results,
            rival_name=_without_champion(judged) if alone else f"champion, version {judged.champion}",
            segments=segments_of(dataset, rows, config),
            training_counts=training_counts(dataset),
            titles=catalog.titles,
            histories=indexed_rows(rows, catalog.index_of)[0],
            validation=data_validation.having("warning") + split_validation.having("warning"),
            drift=data_validation.drift,
            curves={"sft": sft_model.curves(), "rl": rl_model.curves()},
            cost=_cost({"SFT": sft_model, "RL": rl_model}),
            lineage=_lineage(judged, {"SFT": sft_model, "RL": rl_model}),
            gate=config,
            config=evaluation,
        )
    )
    return Reviewed(**dict(judged), page=page)


def _without_champion(judged: Judged) -> str:
    return f"SFT ({'it is the champion itself' if judged.is_champion else 'no champion to compare with'})"


def _cost(trained: dict[str, Checkpoint]) -> list[tuple[str, str]]:
    """Training time on the machine of the run; what an hour of it costs, its owner knows."""
    seconds = {stage: float(model.facts().get("seconds", 0)) for stage, model in trained.items()}
    total = sum(seconds.values())
    return [(f"{stage} training", f"{spent:,.0f} s") for stage, spent in seconds.items()] + [
        ("together", f"{total:,.0f} s, {total / 3600:.2f} machine hours")
    ]


def _parent(facts: dict[str, Any]) -> Any:
    """What a training started from: an earlier model's identity, or the backbone."""
    return facts.get("parent") or facts.get("start") or facts.get("backbone")


def _lineage(judged: Judged, trained: dict[str, Checkpoint]) -> dict[str, Any]:
    """Of the challenger and, as far as they are on record, of the champion."""
    from ops.registry.zenml_registry import metadata_of
    from rere.artifacts.provenance import provenance

    challenger = {
        "data": judged.data,
        "windows": judged.windows,
        "content": judged.content,
        "parents": {stage: _parent(model.facts()) for stage, model in trained.items()},
        **provenance(judged.seeds),
    }
    theirs = metadata_of(judged.model, judged.champion) if judged.champion else {}
    champion = {key: theirs[key] for key in SHOWN if key in theirs}
    return {"challenger": challenger, "settings": judged.settings, "champion": champion}
