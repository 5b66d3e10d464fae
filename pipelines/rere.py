"""The pipeline: ingest, validate, split, index, fine-tune, reinforce, evaluate, promote.

Its parameters are the settings models of `rere/config`; a YAML file gives them under `parameters:`. What a
step waits for is what it takes: order never comes from anything else.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ops.runtime.named import named_content, named_sums
from pipelines.checked import checked_pipeline
from pipelines.preflight import preflight
from rere.config.catalog import IndexConfig
from rere.config.data import IngestConfig, SplitConfig, ValidationConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.sources import source_fingerprint, source_location
from steps.baselines import rank_baselines
from steps.check_backbone import check_backbone
from steps.evaluate import evaluate
from steps.gate import gate
from steps.index_items import index_items
from steps.ingest import ingest
from steps.item_models import train_item_models
from steps.promote import promote
from steps.report import report
from steps.review import review
from steps.rl import reinforce
from steps.sft import fine_tune
from steps.split import split
from steps.summarise import summarise
from steps.validate import validate, validate_split

CHECKED = "check_backbone"  # the step that must have passed before there is anything to train on


@checked_pipeline
def rere_pipeline(
    data: IngestConfig = IngestConfig(),
    checks: ValidationConfig = ValidationConfig(),
    windows: SplitConfig = SplitConfig(),
    catalog: IndexConfig = IndexConfig(),
    sft: SFTConfig = SFTConfig(),
    rl: RLConfig = RLConfig(),
    item_models: ItemModelsConfig = ItemModelsConfig(),
    evaluation: EvaluationConfig = EvaluationConfig(),
    promotion: PromotionConfig = PromotionConfig(),
) -> None:
    """Train, judge and register a generative recommender."""
    chosen = dict(locals())
    preflight(chosen)
    settings = {stage: one.model_dump(mode="json") for stage, one in chosen.items()}
    settings |= named_by(catalog, rl)

    check_backbone(catalog, sft, rl, named_content(catalog, rl))
    dataset = ingest(data, source_fingerprint(data.source))
    location = source_location(data.source)
    accepted, profile = validate(dataset, checks, location)
    rows = split(dataset, accepted, windows)
    sound = validate_split(dataset, rows, profile, checks, location)
    index = index_items(dataset, sound, catalog, named_content(catalog), after=CHECKED)
    tuned = fine_tune(rows, index, sft, named_content(catalog.backbone))
    judge(dataset, accepted, sound, rows, index, tuned, rl, item_models, evaluation, promotion, settings)


def named_by(*settings: BaseModel) -> dict[str, Any]:
    """An entry for the record of a run's settings: the sums of what they name, where they name anything."""
    sums = named_sums(*settings)
    return {"named": sums} if sums else {}


def judge(
    dataset: Any,
    accepted: Any,
    sound: Any,
    rows: Any,
    index: Any,
    tuned: Any,
    rl: RLConfig,
    item_models: ItemModelsConfig,
    evaluation: EvaluationConfig,
    promotion: PromotionConfig,
    settings: dict[str, Any],
) -> None:
    """The second half, which retraining shares: reinforce, evaluate, promote; takes the first half's artifacts."""
    fitted, teacher = train_item_models(dataset, rows, index, item_models)
    reinforced = reinforce(tuned, rows, index, teacher, rl, named_content(rl))
    baselines = rank_baselines(dataset, rows, index, fitted, item_models, evaluation)
    results, metrics = evaluate(dataset, rows, index, baselines, tuned, reinforced, evaluation)
    decision, rival = gate(reinforced, index, dataset, rows, accepted, sound, results, evaluation, promotion)
    page = report(dataset, rows, index, tuned, reinforced, results, metrics, decision, evaluation, settings)
    checked = (dataset, rows, index, accepted, sound)
    opened = review(*checked, tuned, reinforced, results, rival, decision, evaluation, promotion, settings)
    registered = promote(reinforced, index, rows, dataset, decision, page, opened, evaluation, promotion, settings)
    summarise(metrics, decision, page, opened, registered, evaluation)
