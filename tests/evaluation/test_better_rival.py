"""Nobody is shown a model that an item model beats without being told."""

from __future__ import annotations

import pandas as pd

from rere.config.promotion import GateConfig
from rere.evaluation.better_rival import better_item_model
from rere.recommenders.labels import Label

CONFIG = GateConfig(bootstrap_samples=100)


def results(model: str, rank: int) -> pd.DataFrame:
    rows = range(40)
    return pd.DataFrame(
        {"row_id": rows, "user_id": [str(row) for row in rows], "model": model, "target": 0, "rank": rank}
    )


def test_the_best_item_model_is_named_where_it_is_better() -> None:
    ours = results(str(Label.RL), 3)
    said = better_item_model(ours, pd.concat([ours, results("GRU4Rec", 2), results("ensemble", 1)]), CONFIG)
    assert said is not None
    assert "ensemble ranks better" in said
    assert "surely so" in said
    assert "1.0000 against 0.5000" in said


def test_a_worse_one_and_other_stages_are_not() -> None:
    ours = results(str(Label.RL), 1)
    assert better_item_model(ours, pd.concat([ours, results("GRU4Rec", 2)]), CONFIG) is None
    assert better_item_model(results(str(Label.RL), 3), results(str(Label.SFT), 1), CONFIG) is None
