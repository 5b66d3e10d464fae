"""Retraining: the champion's rows and weights, and what the source has gained since.

The same steps as `rere_pipeline`, with another beginning: only new interactions are read, the catalogue goes on from
the champion's, and so does fine-tuning. Without a champion it is a first run.
"""

from __future__ import annotations

from ops.retraining.base import base_of
from ops.runtime.named import named_content
from pipelines.checked import checked_pipeline
from pipelines.preflight import preflight
from pipelines.rere import CHECKED, judge
from pipelines.settings import RetrainSettings
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig, ValidationConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.ingest import IngestConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.promotion import PromotionConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.retraining import FromChampion, RetrainConfig
from rere.config.rl import RLConfig
from rere.config.served_model import ServedModelConfig
from rere.config.sft import SFTConfig
from rere.data.sources.base import source_fingerprint, source_location
from steps.check_backbone import check_backbone
from steps.collect import collect_all, collect_new, ingest_collected
from steps.index_items import continue_items, index_items
from steps.item_models import train_item_models
from steps.sft import fine_tune, fine_tune_on
from steps.split import split
from steps.validate import validate, validate_split


@checked_pipeline
def retrain_pipeline(
    *,
    retrain: RetrainConfig = RetrainConfig(),
    data: IngestConfig = IngestConfig(),
    checks: ValidationConfig = ValidationConfig(),
    windows: SplitConfig = SplitConfig(),
    catalog: IndexConfig = IndexConfig(),
    sft: SFTConfig = SFTConfig(),
    preference: PreferenceStageConfig | None = None,
    rl: RLConfig = RLConfig(),
    reasoning: ReasoningConfig | None = None,
    item_models: ItemModelsConfig = ItemModelsConfig(),
    serving: ServedModelConfig = ServedModelConfig(),
    evaluation: EvaluationConfig = EvaluationConfig(),
    promotion: PromotionConfig = PromotionConfig(),
) -> None:
    """Train on from the champion with new interactions, judge, register."""
    given = RetrainSettings(
        retrain=retrain,
        data=data,
        checks=checks,
        windows=windows,
        catalog=catalog,
        sft=sft,
        preference=preference,
        rl=rl,
        reasoning=reasoning,
        item_models=item_models,
        serving=serving,
        evaluation=evaluation,
        promotion=promotion,
    )
    preflight(dict(given))
    train_on(given)


def train_on(given: RetrainSettings) -> None:
    """All steps of a retraining."""
    location, source = source_location(given.data.source), source_fingerprint(given.data.source)
    backbone = named_content(given.catalog.backbone)
    check_backbone(
        catalog=given.catalog,
        sft=given.sft,
        preference=given.preference,
        rl=given.rl,
        reasoning=given.reasoning,
        named_sha256=named_content(given.catalog, given.rl),
    )
    base = base_of(given.promotion.model_name, given.retrain)
    if base is not None and base.collected is not None and given.retrain.base != "none":
        collected = collect_new(
            champion_collected=base.collected, config=given.data, source_sha256=source, deleted=given.retrain.deleted
        )
    else:
        collected = collect_all(config=given.data, source_sha256=source)
    dataset = ingest_collected(collected=collected, config=given.data)
    data_validation, profile = validate(dataset=dataset, config=given.checks, location=location)
    windows = split(dataset=dataset, data_validation=data_validation, config=given.windows)
    split_validation = validate_split(
        dataset=dataset, windows=windows, profile=profile, config=given.checks, location=location
    )
    if base is not None and isinstance(given.retrain.start, FromChampion):
        catalog, start = continue_items(
            dataset=dataset,
            split_validation=split_validation,
            champion_catalog=base.catalog,
            config=given.catalog,
            named_sha256=named_content(given.catalog),
            warm_start=given.retrain.start,
            after=CHECKED,
        )
    else:
        catalog = index_items(
            dataset=dataset,
            split_validation=split_validation,
            config=given.catalog,
            named_sha256=named_content(given.catalog),
            after=CHECKED,
        )
    item_models, teacher = train_item_models(
        dataset=dataset, windows=windows, catalog=catalog, config=given.item_models
    )
    asked = teacher if given.sft.distillation else None
    if base is not None and isinstance(given.retrain.start, FromChampion):
        sft_model = fine_tune_on(
            champion_model=base.language_model,
            start=start,
            windows=windows,
            catalog=catalog,
            config=given.sft,
            backbone_sha256=backbone,
            warm_start=given.retrain.start,
            teacher=asked,
        )
    else:
        sft_model = fine_tune(
            windows=windows, catalog=catalog, config=given.sft, backbone_sha256=backbone, teacher=asked
        )
    judge(
        dataset=dataset,
        data_validation=data_validation,
        split_validation=split_validation,
        windows=windows,
        catalog=catalog,
        item_models=item_models,
        teacher=teacher,
        sft_model=sft_model,
        given=given,
        base=base.version if base is not None else "",
    )
