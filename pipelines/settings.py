"""A run's settings, one model per stage, as the pipelines hand them to their steps."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ops.registry.recipe import recorded
from ops.runtime.named import hub_commits, named_sums
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
from rere.config.tuning import TuningConfig


class RunSettings(BaseModel):
    """Those of `rere_pipeline`, under the names of its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: IngestConfig
    checks: ValidationConfig
    windows: SplitConfig
    catalog: IndexConfig
    sft: SFTConfig
    preference: PreferenceStageConfig | None = None
    rl: RLConfig
    reasoning: ReasoningConfig | None = None
    item_models: ItemModelsConfig
    serving: ServedModelConfig
    evaluation: EvaluationConfig
    promotion: PromotionConfig

    def record(self) -> dict[str, Any]:
        """What is kept of them with a model: plain values by stage, and what is known of that which they name."""
        return recorded(
            self.model_dump(mode="json"),
            named=named_sums(self.catalog, self.rl),
            data=hub_commits(self.data.source),
            models=hub_commits(self.catalog, self.rl),
        )


class RetrainSettings(RunSettings):
    """Those of `retrain_pipeline`."""

    retrain: RetrainConfig


class TuneSettings(RunSettings):
    """Those of `tune_pipeline`: a run's, and what is tried of them."""

    tuning: TuningConfig

    def run(self) -> RunSettings:
        """Those that `rere_pipeline` takes."""
        return RunSettings(**{name: getattr(self, name) for name in RunSettings.model_fields})
