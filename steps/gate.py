"""May the new model reach users? Judged on the same test rows as popularity and as the present champion.

Always runs: who the champion is, only the registry knows.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from zenml import ArtifactConfig, step

from materializers.table import TableMaterializer
from ops.registry import champion_log as log
from ops.registry import mlflow_registry as registry
from ops.registry.decisions import Decision, DecisionMaterializer
from ops.runtime.run_dirs import work_directory
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.data.dataset import Dataset, Windows
from rere.data.validation_report import ValidationReport
from rere.errors import RereError
from rere.evaluation.gate import Check, Circumstances, Side, Verdict, judge
from rere.evaluation.metrics import row_metric
from rere.models.backbone import Checkpoint
from rere.recommenders.base import Recommender


@step(
    enable_cache=False,
    experiment_tracker=True,
    output_materializers={"decision": DecisionMaterializer, "champion_results": TableMaterializer},
)
def gate(
    model: Checkpoint,
    catalog: CatalogIndex,
    dataset: Dataset,
    windows: Windows,
    validation: ValidationReport,
    results: pd.DataFrame,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
) -> tuple[
    Annotated[Decision, ArtifactConfig(name="decision")],
    Annotated[pd.DataFrame, ArtifactConfig(name="champion_results")],
]:
    """Hold the reinforced model's `results` (per row, of all models) against its rivals'.

    Returns the decision, and the champion's results on the same rows (no rows where none was judged).
    """
    from rere.data.sequences import training_sequences
    from rere.evaluation.segments import segments_of
    from rere.recommenders.generative import GenerativeRecommender
    from rere.recommenders.popularity import Popularity

    registry.require_tracker()
    name, rows = config.model_name, windows.of("test")
    log.repair(name)
    content = registry.content_of(model, catalog, registry.serving_settings(windows, evaluation))
    candidate, champion = registry.find_version(name, content), registry.champion_version(name)
    notes, problem, rival = _kept_start(model), None, None
    if champion is not None and champion == candidate:
        notes.append(f"This very model is the champion already, as version {champion}.")
    elif champion is not None:
        try:
            rival, about_it = _judge_anew(name, champion, catalog, windows, evaluation)
            notes += about_it
        except (MlflowException, OSError, RereError) as error:
            problem = _lost(champion, error)
    ours, popularity = (results[results["model"] == label] for label in ("ReRe", "popularity"))
    recommender = GenerativeRecommender("ReRe", model.path, catalog, evaluation.beams, evaluation.normalisation)
    challenger = _side(recommender, ours, rows, catalog, model.path, registry.newest_interaction(dataset))
    given = Circumstances(
        popularity=popularity,
        training_counts=Popularity.fit(training_sequences(dataset), len(catalog.item_ids)).counts,
        segments=segments_of(dataset, rows, config.gate),
        warnings=tuple(check.name for check in validation.checks if check.status == "warning"),
        now=time.time(),
    )
    verdict = judge(challenger, rival, given, config.gate)
    if problem is not None:
        verdict = Verdict.of([problem, *(check for check in verdict.checks if check.value is not None)])
    decision = Decision(
        verdict=verdict,
        content=content,
        champion=champion,
        is_champion=champion is not None and champion == candidate,
        value=float(row_metric(config.gate.metric, ours["rank"].to_numpy()).mean()),
        notes=tuple(notes),
    )
    return decision, ours.iloc[:0] if rival is None else rival.results


def _side(
    recommender: Recommender,
    results: pd.DataFrame,
    rows: pd.DataFrame,
    catalog: CatalogIndex,
    files: Path,
    newest: int | None,
) -> Side:
    from rere.evaluation.footprint import latency_ms, mebibytes

    return Side(results, latency_ms(recommender, _histories(rows, catalog), 10), mebibytes(files), newest)


def _histories(rows: pd.DataFrame, catalog: CatalogIndex) -> list[list[int]]:
    return [[catalog.index_of[item] for item in history] for history in rows["history"]]


def _lost(version: str, error: Exception) -> Check:
    return Check(
        name="the champion can be judged",
        value=None,
        threshold=None,
        passed=False,
        explanation=f"Version {version}'s files can't be read ({error}). Restore them, or `rere rollback` to the "
        "champion before; `rere promote` overrides this with a reason on record.",
    )


def _kept_start(model: Checkpoint) -> list[str]:
    """Says so when reinforcement learning ended where it began."""
    facts = model.facts()
    if facts.get("best_update") == 0 and facts["settings"]["keep"] == "best":
        return ["No RL update beat the fine-tuned model on validation: ReRe's weights are SFT's, and so are its rows."]
    return []


def _judge_anew(
    name: str, version: str, catalog: CatalogIndex, windows: Windows, evaluation: EvaluationConfig
) -> tuple[Side, list[str]]:
    """A registered version's results on these test rows, and what to know about them."""
    from rere.evaluation.checkpoints import evaluate_checkpoints
    from rere.recommenders.cross_catalog import ForeignRecommender
    from rere.recommenders.generative import GenerativeRecommender

    found = registry.fetch(name, version)
    checkpoint, theirs = registry.read(found)
    settings = {"normalisation": found.settings["normalisation"], "processes": _processes(evaluation)}
    as_served = evaluation.model_copy(update=settings)
    with work_directory("gate", as_served.as_one(), name, version, windows.fingerprint) as work:
        results = evaluate_checkpoints({"champion": checkpoint}, windows, catalog, as_served, work, own=theirs)
    recommender = GenerativeRecommender("champion", checkpoint.path, theirs, as_served.beams, as_served.normalisation)
    foreign, rows = ForeignRecommender(recommender, theirs.item_ids, catalog.item_ids), windows.of("test")
    notes = [f"The champion, version {version}, was judged anew on the same {len(results):,} rows."]
    if foreign.lacking:
        notes.append(
            f"Its catalogue lacks {foreign.lacking:,} of today's items, which count as misses for it; "
            f"{foreign.unanswerable(_histories(rows, catalog)):,} histories hold nothing that it knows."
        )
    newest = found.tags.get(registry.NEWEST)
    side = _side(foreign, results, rows, catalog, checkpoint.path, int(newest) if newest else None)
    return side, notes


def _processes(evaluation: EvaluationConfig) -> int:
    """One a GPU of this machine: the gate may run on less than `evaluate`, whose processes would not find room."""
    return max(1, min(evaluation.processes, torch.cuda.device_count()))
