"""May the new model reach users? Judged on the same test rows as popularity and as the present champion.

Always runs: who the champion is, only the registry knows.
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import ArtifactConfig, step

from rere.catalog.index import CatalogIndex
from rere.config import EvaluationConfig, PromotionConfig
from rere.data.dataset import Windows
from rere.language_model import Checkpoint
from steps import registry
from steps.decisions import Decision, DecisionMaterializer


@step(enable_cache=False, experiment_tracker=True, output_materializers=DecisionMaterializer)
def gate(
    model: Checkpoint,
    catalog: CatalogIndex,
    windows: Windows,
    results: pd.DataFrame,
    evaluation: EvaluationConfig,
    config: PromotionConfig,
) -> Annotated[Decision, ArtifactConfig(name="decision")]:
    """Hold the reinforced model's `results` (per row, of all models) against its rivals'."""
    from rere.evaluation.gate import judge

    registry.require_tracker()
    content = registry.content_of(model, catalog, registry.serving_settings(windows, evaluation))
    candidate = registry.find_version(config.model_name, content)
    champion = registry.champion_version(config.model_name)
    rival, notes = None, _kept_start(model)
    if champion is not None and champion == candidate:
        notes.append(f"This very model is the champion already, as version {champion}.")
    elif champion is not None:
        rival, about_it = _judge_anew(config.model_name, champion, catalog, windows, evaluation)
        notes += about_it
    ours, popularity = (results[results["model"] == label] for label in ("ReRe", "popularity"))
    return Decision(
        verdict=judge(ours, rival, popularity, config.gate),
        content=content,
        champion=champion,
        is_champion=champion is not None and champion == candidate,
        notes=tuple(notes),
    )


def _kept_start(model: Checkpoint) -> list[str]:
    """Says so when reinforcement learning ended where it began."""
    facts = model.facts()
    if facts.get("best_update") == 0 and facts["settings"]["keep"] == "best":
        return ["No RL update beat the fine-tuned model on validation: ReRe's weights are SFT's, and so are its rows."]
    return []


def _judge_anew(
    name: str, version: str, catalog: CatalogIndex, windows: Windows, evaluation: EvaluationConfig
) -> tuple[pd.DataFrame, list[str]]:
    """A registered version's results on these test rows, and what to know about them."""
    from rere.evaluation.evaluator import evaluate
    from rere.evaluation.foreign import ForeignRecommender
    from rere.serving.recommender import GenerativeRecommender

    found = registry.fetch(name, version)
    checkpoint, theirs = registry.read(found)
    recommender = GenerativeRecommender(
        "champion",
        checkpoint.path,
        theirs,
        evaluation.beams,
        normalisation=found.settings["normalisation"],
        batch_prompts=evaluation.batch_prompts,
    )
    foreign = ForeignRecommender(recommender, theirs.item_ids, catalog.item_ids)
    results = evaluate(foreign, windows.of("test"), catalog.index_of, evaluation)
    notes = [f"The champion, version {version}, was judged anew on the same {len(results):,} rows."]
    if foreign.lacking:
        notes.append(
            f"Its catalogue lacks {foreign.lacking:,} of today's items, which count as misses for it; "
            f"{foreign.unanswerable:,} histories hold nothing that it knows."
        )
    return results, notes
