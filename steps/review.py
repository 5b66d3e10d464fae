"""The promotion review: a page for the person who decides, also in the dashboard and with the registered version."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import ArtifactConfig, step
from zenml.types import HTMLString

from ops.registry.decisions import Decision
from rere.artifacts.manifest import fingerprint
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport
from rere.models.backbone import Checkpoint


@step(enable_cache=False)
def review(
    dataset: Dataset,
    windows: Windows,
    catalog: CatalogIndex,
    validation: ValidationReport,
    split_validation: ValidationReport,
    tuned: Checkpoint,
    reinforced: Checkpoint,
    results: pd.DataFrame,
    champion_results: pd.DataFrame,
    decision: Decision,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
    settings: dict[str, Any],
) -> Annotated[HTMLString, ArtifactConfig(name="review")]:
    """Render it; beside the champion, or beside SFT where no champion was judged."""
    from rere.artifacts.provenance import provenance
    from rere.data.sequences import training_sequences
    from rere.evaluation.segments import segments_of
    from rere.recommenders.popularity import Popularity
    from rere.reporting.review import ReviewInputs, render_review

    rows = windows.of("test")
    alone = champion_results.empty
    rival_name = f"champion, version {decision.champion}" if not alone else _without_champion(decision)
    stages = {"SFT": tuned, "RL": reinforced}
    seeds = {stage: chosen["seed"] for stage, chosen in settings.items() if "seed" in chosen}
    return HTMLString(
        render_review(
            ReviewInputs(
                model=config.model_name,
                content=decision.content,
                verdict=decision.verdict,
                notes=decision.notes,
                challenger=results[results["model"] == "ReRe"],
                rival=results[results["model"] == "SFT"] if alone else champion_results,
                rival_name=rival_name,
                segments=segments_of(dataset, rows, config.gate),
                training_counts=Popularity.fit(training_sequences(dataset), len(catalog.item_ids)).counts,
                titles=catalog.titles,
                histories=[[catalog.index_of[item] for item in history] for history in rows["history"]],
                validation=validation.having("warning") + split_validation.having("warning"),
                drift=validation.drift,
                curves={stage.lower(): checkpoint.curves() for stage, checkpoint in stages.items()},
                cost=_cost(stages),
                lineage=_lineage(dataset, windows, settings, provenance(seeds), stages, decision, config.model_name),
                gate=config.gate,
                config=evaluation,
            )
        )
    )


def _without_champion(decision: Decision) -> str:
    return f"SFT ({'it is the champion itself' if decision.is_champion else 'no champion to compare with'})"


def _cost(stages: dict[str, Checkpoint]) -> list[tuple[str, str]]:
    """Training time on the machine of the run; what an hour of it costs, its owner knows."""
    seconds = {stage: float(checkpoint.facts().get("seconds", 0)) for stage, checkpoint in stages.items()}
    total = sum(seconds.values())
    return [(f"{stage} training", f"{spent:,.0f} s") for stage, spent in seconds.items()] + [
        ("together", f"{total:,.0f} s, {total / 3600:.2f} machine hours")
    ]


def _parent(facts: dict[str, Any]) -> Any:
    """What a training started from: an earlier model's fingerprint, or the backbone."""
    return facts.get("parent") or (fingerprint(facts["start"]) if "start" in facts else facts.get("backbone"))


def _lineage(
    dataset: Dataset,
    windows: Windows,
    settings: dict[str, Any],
    made: dict[str, Any],
    stages: dict[str, Checkpoint],
    decision: Decision,
    name: str,
) -> dict[str, Any]:
    from ops.registry.zenml_registry import metadata_of

    own = {
        "data": dataset.report.source_sha256,
        "windows": windows.fingerprint,
        "content": decision.content,
        "parents": {stage: _parent(checkpoint.facts()) for stage, checkpoint in stages.items()},
        **made,
    }
    theirs = metadata_of(name, decision.champion) if decision.champion else {}
    known = {key: theirs[key] for key in ("mlflow_model", "content", "data", "windows", "provenance") if key in theirs}
    return {"challenger": own, "settings": settings, "champion": known}
