"""Tuning: the steps of `rere_pipeline` up to what the space changes, once; then trials of the rest.

There is no evaluation, no gate and no promotion: test rows judge a model, and here none is made to stay.
"""

from __future__ import annotations

from typing import Any

from pipelines.checked import checked_pipeline
from pipelines.preflight import first_trial, preflight
from pipelines.rere import prepare
from pipelines.settings import TuneSettings
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig, ValidationConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.ingest import IngestConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.promotion import PromotionConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.served_model import ServedModelConfig
from rere.config.sft import SFTConfig
from rere.config.tuning import TuningConfig
from steps.item_models import train_item_models
from steps.preference import prefer
from steps.sft import fine_tune
from steps.tune import tune


@checked_pipeline
def tune_pipeline(
    *,
    tuning: TuningConfig = TuningConfig(),
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
    """Try other settings, and write the best as a configuration."""
    given = TuneSettings(
        tuning=tuning,
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
    try_settings(given)


def try_settings(given: TuneSettings) -> None:
    """All steps of a tuning."""
    data, first = prepare(given), given.tuning.first_stage
    teacher: Any = None
    sft_model: Any = None
    preference_model: Any = None
    if first in ("sft", "preference", "rl"):
        _, teacher = train_item_models(
            dataset=data.dataset, windows=data.windows, catalog=data.catalog, config=given.item_models
        )
    if first in ("preference", "rl"):
        sft_model = fine_tune(
            windows=data.windows,
            catalog=data.catalog,
            config=given.sft,
            backbone_sha256=data.inputs.backbone_sha256,
            teacher=teacher if given.sft.distillation else None,
        )
    if first == "rl" and given.preference is not None and given.preference.place == "before_rl":
        preference_model = prefer(
            sft_model=sft_model, windows=data.windows, catalog=data.catalog, config=given.preference.training
        )
    tune(
        dataset=data.dataset,
        windows=data.windows,
        catalog=data.catalog,
        config=given.tuning,
        settings=given.run().model_dump(mode="json"),
        start=first_trial(given) or {},
        catalog_sha256=data.inputs.catalog_sha256,
        rl_sha256=data.inputs.rl_sha256,
        model_commits=data.inputs.model_commits,
        teacher=teacher,
        start_model=sft_model if preference_model is None else preference_model,
    )
