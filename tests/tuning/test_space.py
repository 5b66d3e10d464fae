"""The search space: names and corners are checked by the settings' own types before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.checked import settings_of
from pipelines.preflight import first_trial, preflight
from pipelines.settings import TuneSettings
from pipelines.tune import tune_pipeline
from rere.errors import RereError
from rere.tuning.space import changed, distributions, values_of

ROOT = Path(__file__).parents[2]


def given(tmp_path: Path, space: dict[str, Any], **more: Any) -> TuneSettings:
    """As the command reads a configuration, checked."""
    stages = {name: more.pop(name) for name in ("sft", "catalog", "item_models", "rl") if name in more}
    content: dict[str, Any] = {"parameters": {"tuning": {"space": space, **more}, **stages}}
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    settings = settings_of(tune_pipeline, tmp_path / "tune.yaml")
    preflight(settings)
    return TuneSettings(**settings)


def ints(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, **more}


def floats(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"sft.lerning_rate": floats(0.001, 0.01)},
            r"sft.lerning_rate: no such setting \(did you mean `learning_rate`",
        ),
        ({"sft.distilation.weight": floats(0.1, 1)}, r"sft.distilation: no such setting \(did you mean `distillation`"),
        ({"stf.learning_rate": floats(0.001, 0.01)}, r"stf.learning_rate \(did you mean `sft`\?\)"),
        ({"windows.history_items": ints(5, 10)}, "item_models, sft, preference, rl, got windows.history_items"),
        ({"rl.learning_rate": floats(0.001, 0.01)}, "rl.learning_rate changes nothing .* `stage: sft`"),
        ({"sft.warmup_share": floats(0.0, 1.0)}, r"sft.warmup_share: .*less than 1.*with sft.warmup_share = 1.0"),
        ({"sft.epochs": floats(1.0, 2.5)}, r"sft.epochs: .*integer.*with sft.epochs = 2.5"),
        ({"sft.precision": {"type": "categorical", "choices": ["float32", "float16"]}}, "sft.precision.*'float16'"),
        ({"item_models.rivals.sasrek.width": ints(8, 16)}, r"no 'sasrek' \(did you mean `sasrec`\?\)"),
        ({"sft.learning_rate.high": floats(0.1, 0.2)}, "sft.learning_rate is 0.0025"),
        ({"sft.learning_rate": floats(0.01, 0.001)}, "a range goes up"),
        ({"sft.learning_rate": floats(0.0, 0.1, scale="log")}, "on a log scale from above 0"),
        ({"sft.epochs": ints(1, 4, step=2)}, "in whole steps"),
        ({"sft.epochs": {"type": "categorical", "choices": [2, 2]}}, "each choice once"),
        ({"sft.epochs": {"type": "categoric", "choices": [1, 2]}}, r"did you mean `categorical`"),
        ({}, "tuning.space"),
    ],
)
def test_a_mistake_in_the_space_is_one_clear_message(space: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RereError, match=message):
        given(tmp_path, space)


def test_corners_that_do_not_go_together_are_found(tmp_path: Path) -> None:
    """Each alone is sound; together the width is no multiple of twice the heads."""
    space = {
        "catalog.backbone.width": ints(48, 96, step=48),
        "catalog.backbone.heads": {"type": "categorical", "choices": [3, 8]},
    }
    small = {"catalog": {"backbone": {"type": "scratch", "width": 96, "heads": 3}}}
    with pytest.raises(RereError, match=r"multiple of heads.*width = 48, catalog.backbone.heads = 16"):
        given(tmp_path, space | {"catalog.backbone.heads": {"type": "categorical", "choices": [3, 16]}}, **small)
    given(tmp_path, space, **small)


def test_whole_numbers_between_the_ends_are_checked(tmp_path: Path) -> None:
    with pytest.raises(RereError, match=r"multiple of heads.*catalog.backbone.width = 33"):
        given(tmp_path, {"catalog.backbone.width": ints(32, 64)}, catalog={"backbone": {"type": "scratch", "heads": 2}})


def test_null_has_no_settings_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(RereError, match=r"though sft\.distillation is null"):
        given(tmp_path, {"sft.distillation.weight": floats(0.5, 1.0)}, sft={"distillation": None})


def test_a_metric_beyond_the_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RereError, match=r"tuning\.metric: ndcg@50 with lists of 20"):
        given(tmp_path, {"sft.epochs": ints(1, 3)}, metric="ndcg@50")


def test_names_lead_into_lists_by_type_or_number() -> None:
    settings = {"rl": {"rewards": [{"type": "rule", "weight": 1.0}, {"type": "ranking", "weight": 1.0}]}}
    new = changed(settings, {"rl.rewards.ranking.weight": 2.0, "rl.rewards.0.weight": 0.5})
    assert [one["weight"] for one in new["rl"]["rewards"]] == [0.5, 2.0]
    assert [one["weight"] for one in settings["rl"]["rewards"]] == [1.0, 1.0]  # as they were


def test_any_value_may_be_a_choice(tmp_path: Path) -> None:
    choices = [None, {"weight": 0.5}]
    found = given(tmp_path, {"sft.distillation": {"type": "categorical", "choices": choices}})
    texts = distributions(found.tuning.space)["sft.distillation"].choices  # type: ignore[attr-defined]
    back = [values_of(found.tuning.space, {"sft.distillation": text})["sft.distillation"] for text in texts]
    assert back == choices


def test_the_first_trial_is_the_settings_as_they_stand(tmp_path: Path) -> None:
    loss = {"type": "categorical", "choices": ["grpo", "mpo"]}
    found = given(tmp_path, {"rl.loss": loss, "sft.epochs": ints(1, 9)}, stage="rl")
    assert first_trial(found) == {"rl.loss": '"mpo"', "sft.epochs": 5}
    assert first_trial(given(tmp_path, {"sft.epochs": ints(1, 4)})) is None  # they lie outside


def test_the_configuration_that_comes_along_is_the_default() -> None:
    stated = settings_of(tune_pipeline, ROOT / "configs" / "tune.yaml")
    assert stated["tuning"] == TuneSettings.model_fields["tuning"].annotation()  # type: ignore[misc]
    assert stated["tuning"].first_stage == "sft"
