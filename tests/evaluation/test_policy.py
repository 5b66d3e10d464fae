"""A run that asks less than the registered model's policy is found out, setting by setting."""

from __future__ import annotations

from typing import Any

import pytest

from rere.config.promotion import GateConfig, NonInferiority, Stricter, Superiority
from rere.evaluation.policy import weakened

POLICY = GateConfig(maximum_age_days=30.0)


def asked(**changes: Any) -> GateConfig:
    return POLICY.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"minimum_over_popularity": -1.0}, "minimum_over_popularity: -1.0 (policy: 0.0)"),
        ({"guard_margin": 0.02}, "guard_margin: 0.02 (policy: 0.01)"),
        ({"metric": "hr@10"}, "metric: hr@10 (policy: ndcg@10)"),
        ({"guards": ()}, "guards:  (policy: hr@10)"),
        ({"maximum_age_days": None}, "maximum_age_days: None (policy: 30.0)"),
        ({"test": NonInferiority(margin=0.01)}, "test.margin: 0.01 (policy: 0.005)"),
        ({"confidence": 0.5}, "confidence: 0.5 (policy: 0.95)"),
        ({"over_best_item_model": "off"}, "over_best_item_model: off (policy: warn)"),
    ],
)
def test_asking_less_is_named(changes: dict[str, Any], said: str) -> None:
    assert weakened(POLICY, asked(**changes)) == [said]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"minimum_over_popularity": 0.01, "guard_margin": 0.0, "confidence": 0.99},
        {"guards": ("hr@10", "hr@20")},
        {"maximum_age_days": 7.0, "test": NonInferiority(margin=0.001)},
        {"bootstrap_samples": 500, "seed": 3},
        {"over_best_item_model": "refuse"},
    ],
)
def test_asking_as_much_or_more_is_any_runs_right(changes: dict[str, Any]) -> None:
    assert weakened(POLICY, asked(**changes)) == []


def test_a_warning_is_less_than_a_refusal() -> None:
    said = weakened(asked(over_best_item_model="refuse"), asked(over_best_item_model="warn"))
    assert said == ["over_best_item_model: warn (policy: refuse)"]


def test_another_kind_of_test_needs_a_person() -> None:
    assert weakened(POLICY, asked(test=Superiority(type="superiority")))[0].startswith("test: ")


def test_every_limit_says_what_is_stricter() -> None:
    """Only what describes the segments and the resampling may change freely."""
    free = {
        name
        for name, field in GateConfig.model_fields.items()
        if not any(isinstance(m, Stricter) for m in field.metadata)
    }
    assert free == {"new_user_interactions", "heavy_user_share", "cold_item_interactions", "bootstrap_samples", "seed"}
