"""Retraining: the champion's rows and weights, and what the source has gained since.

The same steps as `rere_pipeline`, with another beginning: only new interactions are read, the catalogue goes on from
the champion's, and so does fine-tuning. Without a champion it is a first run.
"""

from __future__ import annotations

from ops.runtime.named import named_content
from pipelines.checked import checked_pipeline
from pipelines.preflight import preflight
from pipelines.rere import CHECKED, judge, named_by
from rere.config.catalog import IndexConfig
from rere.config.data import IngestConfig, SplitConfig, ValidationConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.promotion import PromotionConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.retraining import FromChampion, RetrainConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.data.sources import source_fingerprint, source_location
from steps.check_backbone import check_backbone
from steps.collect import collect_all, collect_new, ingest_collected
from steps.index_items import continue_items, index_items
from steps.retraining import find_base
from steps.sft import fine_tune, fine_tune_on
from steps.split import split
from steps.validate import validate, validate_split


@checked_pipeline
def retrain_pipeline(
    retrain: RetrainConfig = RetrainConfig(),
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
    """Train on from the champion with new interactions, judge, register."""
    chosen = dict(locals())
    preflight(chosen)
    settings = {stage: one.model_dump(mode="json") for stage, one in chosen.items()}
    settings |= named_by(catalog, rl)

    check_backbone(catalog, sft, rl, named_content(catalog, rl))
    base, source = find_base(promotion.model_name), source_fingerprint(data.source)
    known = base.rows if base is not None and retrain.base == "champion" else None
    collected = collect_new(known, data, source) if known is not None else collect_all(data, source)
    dataset = ingest_collected(collected, data)
    location = source_location(data.source)
    accepted, profile = validate(dataset, checks, location)
    rows = split(dataset, accepted, windows)
    sound = validate_split(dataset, rows, profile, checks, location)
    named = named_content(catalog)
    if base is not None and isinstance(retrain.start, FromChampion):
        index, start = continue_items(dataset, sound, base.catalog, catalog, named, retrain.start, after=CHECKED)
        tuned = fine_tune_on(base.model, start, rows, index, sft, named_content(catalog.backbone), retrain.start)
    else:
        index = index_items(dataset, sound, catalog, named, after=CHECKED)
        tuned = fine_tune(rows, index, sft, named_content(catalog.backbone))
    judge(dataset, accepted, sound, rows, index, tuned, rl, item_models, evaluation, promotion, settings)
