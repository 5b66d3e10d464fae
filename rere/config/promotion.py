"""Settings of the gate and of promotion."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field

from rere.config.base import ModelName, Seed, Settings


def _row_metric(name: str) -> str:
    if not re.fullmatch(r"(ndcg|hr)@[1-9]\d{0,3}", name):
        raise ValueError("a metric is ndcg@K or hr@K, such as ndcg@10")
    return name


RowMetric = Annotated[str, AfterValidator(_row_metric)]


@dataclass(frozen=True)
class Stricter:
    """Which values of a setting ask more of a challenger; a setting without it may be changed by any run."""

    when: Literal["higher", "lower", "same", "more"]  # same: any other value needs a person; more: a superset asks more
    order: tuple[str, ...] = ()  # of values that are words, lowest first


class _Test(Settings):
    """How the challenger is held against the champion."""

    @property
    def threshold(self) -> float:
        """What the lower end of the interval of challenger - champion is held against, in the metric's units."""
        return 0.0

    def passes(self, low: float) -> bool:
        """Whether that lower end suffices."""
        return low >= self.threshold

    def level(self, confidence: float, challengers: int) -> float:
        """The confidence of that interval.

        Args:
            challengers: how many the present champion has met, this one included.
        """
        return confidence


class _WithMargin(_Test):
    margin: Annotated[float, Stricter("lower")] = Field(
        default=0.005, ge=0, description="the loss of `metric` that would be tolerated"
    )

    @property
    def threshold(self) -> float:
        return -self.margin


class NonInferiority(_WithMargin):
    """The challenger is surely not worse than the champion by more than the margin."""

    type: Literal["non_inferiority"] = "non_inferiority"


class Superiority(_Test):
    """The challenger is surely better than the champion."""

    type: Literal["superiority"]

    def passes(self, low: float) -> bool:
        return low > self.threshold


class Sequential(_WithMargin):
    """Non-inferiority whose error rate holds for all challengers of one champion together.

    The k-th challenger gets the share 6 / (pi^2 k^2) of the error rate: the shares sum to 1 (alpha spending, after
    Foster and Stine, "Alpha-investing", 2008).
    """

    type: Literal["sequential"]

    def level(self, confidence: float, challengers: int) -> float:
        return 1 - (1 - confidence) * 6 / (math.pi * challengers) ** 2


ChampionTest = Annotated[NonInferiority | Superiority | Sequential, Field(discriminator="type")]
ItemModelRule = Literal["off", "warn", "refuse"]  # the more is asked, the later
Higher, Lower, Same, More = (Stricter(when) for when in ("higher", "lower", "same", "more"))


class GateConfig(Settings):
    """What a challenger must show; margins are in the metric's own units.

    The settings marked as stricter when higher (lower, ...) are the registered model's policy: a run that asks less
    than the policy promotes nothing by itself.
    """

    renamed: ClassVar[dict[str, str]] = {"minimum_gain": "test: {type: non_inferiority, margin: ...}"}

    metric: Annotated[RowMetric, Same] = "ndcg@10"
    test: Annotated[ChampionTest, Same] = Field(
        default=NonInferiority(), description="how the challenger is held against the champion"
    )
    maximum_total_loss: Annotated[float, Lower] = Field(
        default=0.005,
        ge=0,
        description="of `metric` against the anchor, the best champion on record, however many small losses add up",
    )
    minimum_over_popularity: Annotated[float, Higher] = Field(
        default=0.0, description="the interval's lower bound must exceed it"
    )
    over_best_item_model: Annotated[ItemModelRule, Stricter("higher", get_args(ItemModelRule))] = Field(
        default="warn",
        description="an item model of the run that ranks better: is said (warn), or refuses where it surely does, and "
        "where none was judged (refuse)",
    )
    guards: Annotated[tuple[RowMetric, ...], More] = Field(
        default=("hr@10",), description="metrics that must not fall either"
    )
    guard_margin: Annotated[float, Lower] = Field(
        default=0.01, ge=0, description="how far a guard's lower bound may lie below zero"
    )
    minimum_coverage_ratio: Annotated[float, Higher] = Field(
        default=0.8, ge=0, description="of the champion's catalogue coverage"
    )
    minimum_catalog_ratio: Annotated[float, Higher] = Field(
        default=0.9, ge=0, description="of the champion's number of items: a feed cut short isn't promoted"
    )
    maximum_popularity_rise: Annotated[float, Lower] = Field(
        default=0.05, ge=0, description="of the mean popularity percentile"
    )
    segment_margin: Annotated[float, Lower] = Field(
        default=0.01, ge=0, description="no segment may surely be worse by more"
    )
    minimum_segment_rows: Annotated[int, Lower] = Field(
        default=30, ge=1, description="segments with fewer test rows aren't judged"
    )
    new_user_interactions: int = Field(default=10, ge=0, description="training interactions of a new user, at most")
    heavy_user_share: float = Field(default=0.2, gt=0, lt=1, description="the most active rows, by their user")
    cold_item_interactions: int = Field(default=10, ge=0, description="training interactions of a cold item, at most")
    maximum_latency_ms: Annotated[float, Lower] = Field(
        default=1000.0,
        gt=0,
        description="of a request alone, as it is served; holds where the champion keeps it too",
    )
    maximum_latency_ratio: Annotated[float, Lower] = Field(
        default=2.0, gt=0, description="of a request's time to the champion's; both are timed in turn in the same run"
    )
    maximum_mebibytes: Annotated[float, Lower] = Field(default=4096.0, gt=0, description="of the model's files")
    maximum_warnings: Annotated[int, Lower] = Field(default=5, ge=0, description="of the data validation")
    maximum_faulty_rows: Annotated[float, Lower] = Field(
        default=0.01, ge=0, le=1, description="share of the prediction rows that fail any one check of the split"
    )
    maximum_age_days: Annotated[float | None, Lower] = Field(
        default=None, gt=0, description="of the newest training interaction"
    )
    maximum_days_behind: Annotated[float, Lower] = Field(
        default=0.0, ge=0, description="how much older than the champion's the newest training interaction may be"
    )
    confidence: Annotated[float, Higher] = Field(default=0.95, gt=0, lt=1)
    bootstrap_samples: int = Field(default=2000, ge=100)
    seed: Seed = 0


class PromotionConfig(Settings):
    model_name: ModelName = "rere"
    decided_by: Literal["gate", "review"] = Field(
        default="gate", description="gate: a model that passes is champion at once; review: when a person approves it"
    )
    gate: GateConfig = GateConfig()
