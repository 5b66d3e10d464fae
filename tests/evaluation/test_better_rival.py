"""Nobody is shown a model that an item model beats without being told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rere.config.promotion import GateConfig
from rere.evaluation.better_rival import over_best_item_model
from rere.recommenders.labels import Label

CONFIG = GateConfig(bootstrap_samples=100)


def results(model: str, rank: int | list[int]) -> pd.DataFrame:
    rows = range(40)
    return pd.DataFrame(
        {"row_id": rows, "user_id": [str(row) for row in rows], "model": model, "target": 0, "rank": rank}
    )


def test_the_best_item_model_is_named_where_it_is_better() -> None:
    ours = results(str(Label.RL), 3)
    found = over_best_item_model(ours, pd.concat([ours, results("GRU4Rec", 2), results("ensemble", 1)]), CONFIG)
    assert found is not None
    assert found.name == "ensemble"
    assert found.gain.high == pytest.approx(-0.5)
    assert found.warning is not None
    assert "ensemble ranks better on the same rows, and surely so" in found.warning
    assert "1.0000 against 0.5000, a difference of +0.5000 [+0.5000, +0.5000]" in found.warning


def test_a_small_lead_may_be_chance() -> None:
    ours = results(str(Label.RL), [3] + [1] * 19 + [3] * 20)
    found = over_best_item_model(ours, results("EASE", [1] + [3] * 19 + [1] * 20), CONFIG)
    assert found is not None
    assert found.gain.low < 0 < found.gain.high
    assert found.warning is not None
    assert "though it may be chance" in found.warning
    low, high = (float(end) for end in found.warning.rpartition("[")[2].rstrip("].").split(", "))
    assert np.array([low, high]) == pytest.approx([-found.gain.high, -found.gain.low], abs=1e-4)


def test_a_worse_one_needs_no_word_and_other_stages_are_no_item_models() -> None:
    ours = results(str(Label.RL), 1)
    worse = over_best_item_model(ours, pd.concat([ours, results("GRU4Rec", 2)]), CONFIG)
    assert worse is not None
    assert worse.warning is None
    assert over_best_item_model(results(str(Label.RL), 3), results(str(Label.SFT), 1), CONFIG) is None
