"""Item models are chosen by name: what the registry lists is what settings take, and an error says what was meant."""

from __future__ import annotations

from typing import Any

import pytest

from rere.config.reading import validated
from rere.config.recommenders import ItemModelsConfig
from rere.errors import RereError
from rere.recommenders.fitting import asked
from rere.recommenders.registry import ITEM_MODELS, model_type
from rere.recommenders.sequential.caser import CaserConfig
from rere.recommenders.sequential.sasrec import SASRecConfig


def test_a_registered_name_is_that_of_its_settings() -> None:
    assert {kind: model_type(kind).kind() for kind in ITEM_MODELS} == {kind: kind for kind in ITEM_MODELS}


def test_a_name_alone_stands_for_the_defaults() -> None:
    config = ItemModelsConfig.model_validate({"rivals": ["sasrec", {"type": "caser", "epochs": 2}], "teacher": "caser"})
    assert config.rivals == (SASRecConfig(), CaserConfig(epochs=2))
    assert ItemModelsConfig.model_validate_json(config.model_dump_json()) == config
    assert asked(config) == config.rivals


def test_a_teacher_that_is_no_rival_is_fitted_too() -> None:
    config = ItemModelsConfig.model_validate({"rivals": ["sasrec"], "teacher": "caser"})
    assert asked(config) == (SASRecConfig(), CaserConfig())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rivals": ["sasrek"]}, "rivals.0: no 'sasrek' there (did you mean `sasrec`?)"),
        ({"rivals": [{"type": "caser", "epoch": 2}]}, "rivals.0.caser.epoch: no such setting (did you mean `epochs`?)"),
        ({"rivals": ["caser", "caser"]}, "each rival once"),
        ({"teacher": "nobody"}, "a teacher is one of best, sasrec"),
        ({"sasrec": {"epochs": 1}}, "sasrec: is called `rivals: [{type: sasrec, ...}]` now"),
    ],
)
def test_a_mistake_is_told_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RereError) as told:
        validated(ItemModelsConfig, given)
    assert said in str(told.value)
    assert "at least 1 item" not in str(told.value)
