"""Users that fine-tuning leaves to RL: it sees nothing of them, and RL sees nobody else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rere.catalog.index import CatalogIndex
from rere.config.catalog import IndexConfig
from rere.config.consistency import require_consistent
from rere.config.evaluation import EvaluationConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.promotion import PromotionConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.rl import KeptUsersRows, RLConfig
from rere.config.served_model import ServedModelConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.data.user_draws import fold_of, is_kept
from rere.errors import RereError
from rere.training.rl.prompts import chosen_windows
from rere.training.sft.inputs import datasets_of

SHARE = 0.3


def targets_of(rows: Iterable[dict[str, Any]]) -> int:
    return sum(len(row["items"]) - row["untrained"] for row in rows)


def test_a_users_id_alone_says_whether_they_are_kept(world_windows: Windows) -> None:
    users = world_windows.table["user_id"]
    kept = set(users[is_kept(users, SHARE)])
    assert 8 <= len(kept) <= 28  # of 60: the same ones always
    other = users[::-1].astype("category")
    assert set(other[is_kept(other, SHARE)]) == kept
    assert kept < set(users[is_kept(users, 0.6)])  # who is kept stays so when more are
    folds = fold_of(users, 4)
    assert set(folds) == {0, 1, 2, 3}
    assert len(set(zip(users, folds, strict=True))) == 60
    assert len(set(folds[is_kept(users, SHARE)])) == 4  # two draws: kept users are of every fold


@pytest.mark.parametrize("rows", ["window", "sequence"])
def test_what_fine_tuning_leaves_out_is_what_rl_takes(
    world_windows: Windows, world_catalog: CatalogIndex, rows: str
) -> None:
    chosen = chosen_windows(world_windows, KeptUsersRows(share=SHARE))
    users = world_windows.of("train")["user_id"]
    assert set(chosen.of("train")["user_id"]) == set(users[is_kept(users, SHARE)])
    config = SFTConfig.model_validate({"rows": rows, "kept_users": SHARE, "distillation": None})
    train, valid = datasets_of(world_windows, world_catalog, config)
    assert targets_of(map(dict, train)) + len(chosen.of("train")) == len(users)
    assert len(valid) == len(chosen.of("valid")) == 60  # all users validate


def test_altered_histories_hold_nothing_of_kept_users(world_catalog: CatalogIndex) -> None:
    """Users who are kept walk through the last twelve items, the others through the first."""
    rows: list[tuple[str, list[str], str, int, str]] = []
    for user in (f"u{n}" for n in range(20)):
        walk = [f"i{n + 12 * int(is_kept([user], SHARE)[0])}" for n in range(7)]
        rows.extend((user, walk[max(0, end - 4) : end], walk[end], end, "train") for end in range(1, 7))
        rows.append((user, walk[3:7], walk[0], 7, "valid"))
    table = pd.DataFrame(rows, columns=["user_id", "history", "target", "timestamp", "period"])
    table = table.assign(row_id=np.arange(len(table)), warm=True)
    config = SFTConfig(kept_users=SHARE)
    train, _ = datasets_of(Windows(table, history_items=4), world_catalog, config)
    assert {item for items in train["items"] for item in items} == set(range(7))
    everything, _ = datasets_of(Windows(table, history_items=4), world_catalog, SFTConfig())
    assert {item for items in everything["items"] for item in items} == {*range(7), *range(12, 19)}


@pytest.mark.parametrize(
    ("kept", "rows", "place"),
    [
        (0.2, {"type": "all"}, None),
        (0.0, {"type": "kept_users"}, None),
        (0.3, {"type": "kept_users"}, None),
        (0.2, {"type": "kept_users"}, "before_rl"),
        (0.2, {"type": "kept_users"}, "instead_of_rl"),
    ],
)
def test_stages_that_mean_other_users_are_refused(kept: float, rows: dict[str, Any], place: str | None) -> None:
    def settings(kept: float, rows: dict[str, Any], place: str | None) -> dict[str, Any]:
        return {
            "catalog": IndexConfig(),
            "sft": SFTConfig(kept_users=kept),
            "preference": None if place is None else PreferenceStageConfig.model_validate({"place": place}),
            "rl": RLConfig.model_validate({"rows": rows}),
            "item_models": ItemModelsConfig(),
            "serving": ServedModelConfig(),
            "evaluation": EvaluationConfig(),
            "promotion": PromotionConfig(),
        }

    with pytest.raises(RereError, match=r"sft\.kept_users"):
        require_consistent(settings(kept, rows, place))
    require_consistent(settings(0.2, {"type": "kept_users"}, "beside_rl"))
    require_consistent(settings(0.0, {"type": "newest"}, "before_rl"))
