"""Mistakes in a run configuration, in one message each."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.rere import rere_pipeline
from rere.errors import RereError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("parametrs: {}\n", "got parametrs"),
        ("parameters: {sftt: {}}\n", r"parameters\.sft.*got parameters\.sftt"),
        ("- a\n- b\n", "a mapping in .*got a list"),
    ],
)
def test_unknown_keys_are_refused_where_zenml_ignores_them(content: str, message: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(content, encoding="utf-8")
    with pytest.raises(RereError, match=message):
        rere_pipeline.with_options(config_path=str(config))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sft": {"epochs": -1}}, r"sft\.epochs: Input should be greater than or equal to 0 \(got -1\)"),
        ({"rl": {"grup": 4}}, r"rl\.grup: Extra inputs are not permitted \(got 4\)"),
        ({"data": {"source": {"type": "tables", "items": "i.csv"}}}, r"data\.source\.tables\.interactions: Field req"),
        ({"evaluation": {"ks": [50], "beams": 20}}, r"beams \(20\) must be at least the largest k \(50\)"),
    ],
)
def test_wrong_values_are_named_with_their_place(settings: dict, message: str) -> None:
    with pytest.raises(RereError, match=message):
        rere_pipeline.copy().prepare(**settings)
