"""Retraining: the champion's rows and weights, and what the source has gained since.

The same steps as `rere_pipeline`, with another beginning: only new interactions are read, the catalogue goes on from
the champion's, and so does fine-tuning. Without a champion it is a first run.
"""

from __future__ import annotations

from pipelines.checked import checked_pipeline
from pipelines.preflight import preflight
from pipelines.rere import CHECKED, Prepared, begin, check_and_split, judge
from pipelines.settings import RetrainSettings
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig, ValidationConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.ingest import IngestConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.promotion import PromotionConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.retraining import RetrainConfig
from rere.config.rl import RLConfig
from rere.config.served_model import ServedModelConfig
from rere.config.sft import SFTConfig
from steps.beginning import look_up_base
from steps.collect import collect, ingest_collected
from steps.index_items import continue_items
from steps.item_models import train_item_models
from steps.sft import fine_tune_on


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
    inputs = begin(given)
    base = look_up_base(
        model_name=given.promotion.model_name,
        config=given.retrain,
        data=given.data,
        settings=given.model_dump(mode="json"),
        named=inputs.named,
        data_commits=inputs.data_commits,
        model_commits=inputs.model_commits,
    )
    collected = collect(
        base=base,
        config=given.data,
        source_sha256=inputs.source_sha256,
        data_commits=inputs.data_commits,
        deleted=given.retrain.deleted,
    )
    dataset = ingest_collected(collected=collected, config=given.data)
    checked = check_and_split(given, dataset)
    catalog, start = continue_items(
        base=base,
        dataset=dataset,
        split_validation=checked.split_validation,
        config=given.catalog,
        catalog_sha256=inputs.catalog_sha256,
        model_commits=inputs.model_commits,
        start_from=given.retrain.start,
        after=CHECKED,
    )
    item_models, teacher = train_item_models(
        dataset=dataset, windows=checked.windows, catalog=catalog, config=given.item_models
    )
    sft_model = fine_tune_on(
        base=base,
        start=start,
        windows=checked.windows,
        catalog=catalog,
        config=given.sft,
        backbone_sha256=inputs.backbone_sha256,
        start_from=given.retrain.start,
        teacher=teacher if given.sft.distillation else None,
    )
    data = Prepared(inputs=inputs, dataset=dataset, catalog=catalog, **checked._asdict())
    judge(data=data, item_models=item_models, teacher=teacher, sft_model=sft_model, given=given, base=base)
