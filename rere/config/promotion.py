"""Settings of the gate and of promotion."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rere.config.base import ModelName, Seed, Settings


def _row_metric(name: str) -> str:
    if not re.fullmatch(r"(ndcg|hr)@[1-9]\d{0,3}", name):
        raise ValueError("a metric is ndcg@K or hr@K, such as ndcg@10")
    return name


RowMetric = Annotated[str, AfterValidator(_row_metric)]


class GateConfig(Settings):
    """What a challenger must show; margins are in the metric's own units."""

    metric: RowMetric = "ndcg@10"
    minimum_gain: float = Field(
        default=-0.005, description="least gain over the champion; lower bound of the paired interval"
    )
    minimum_over_popularity: float = Field(default=0.0, description="the interval's lower bound must exceed it")
    guards: tuple[RowMetric, ...] = Field(default=("hr@10",), description="metrics that must not fall either")
    guard_margin: float = Field(default=0.01, ge=0, description="how far a guard's lower bound may lie below zero")
    minimum_coverage_ratio: float = Field(default=0.8, ge=0, description="of the champion's catalogue coverage")
    maximum_popularity_rise: float = Field(default=0.05, ge=0, description="of the mean popularity percentile")
    segment_margin: float = Field(default=0.01, ge=0, description="no segment may surely be worse by more")
    minimum_segment_rows: int = Field(default=30, ge=1, description="segments with fewer test rows aren't judged")
    new_user_interactions: int = Field(default=10, ge=0, description="training interactions of a new user, at most")
    heavy_user_share: float = Field(default=0.2, gt=0, lt=1, description="the most active rows, by their user")
    cold_item_interactions: int = Field(default=10, ge=0, description="training interactions of a cold item, at most")
    maximum_latency_ms: float = Field(
        default=1000.0,
        gt=0,
        description="of a request alone, as it is served; holds where the champion keeps it too",
    )
    maximum_latency_ratio: float = Field(
        default=2.0, gt=0, description="of a request's time to the champion's; both are timed in turn in the same run"
    )
    maximum_mebibytes: float = Field(default=4096.0, gt=0, description="of the model's files")
    maximum_warnings: int = Field(default=5, ge=0, description="of the data validation")
    maximum_faulty_rows: float = Field(
        default=0.01, ge=0, le=1, description="share of the prediction rows that fail any one check of the split"
    )
    maximum_age_days: float | None = Field(default=None, gt=0, description="of the newest training interaction")
    confidence: float = Field(default=0.95, gt=0, lt=1)
    bootstrap_samples: int = Field(default=2000, ge=100)
    seed: Seed = 0


class PromotionConfig(Settings):
    model_name: ModelName = "rere"
    decided_by: Literal["gate", "review"] = Field(
        default="gate", description="gate: a model that passes is champion at once; review: when a person approves it"
    )
    gate: GateConfig = GateConfig()
