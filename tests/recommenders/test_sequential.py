"""The rivals learn a world where popularity is no help; the neural ones repeat themselves and come back from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rere.config.recommenders import SequentialConfig
from rere.data.dataset import Period, Windows
from rere.errors import RereError
from rere.evaluation.metrics import ndcg, target_ranks
from rere.recommenders.base import Recommender
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.ease import EASE, EASEConfig
from rere.recommenders.item_item import ItemItemConfig
from rere.recommenders.item_knn import ItemKNN, ItemKNNConfig
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.popularity import Popularity
from rere.recommenders.sequential.base import SequentialRecommender
from rere.recommenders.sequential.caser import Caser, CaserConfig
from rere.recommenders.sequential.gru4rec import GRU4Rec, GRU4RecConfig
from rere.recommenders.sequential.sasrec import SASRec, SASRecConfig
from tests.conftest import WORLD_ITEMS

SIZES: dict[str, Any] = {"width": 16, "history_items": 4, "epochs": 15, "learning_rate": 1e-2, "dropout": 0.0}
FITS: dict[str, tuple[type[SequentialRecommender], SequentialConfig]] = {
    "sasrec": (SASRec, SASRecConfig(layers=1, feed_forward=16, batch_rows=16, **SIZES)),
    "gru4rec": (GRU4Rec, GRU4RecConfig(batch_rows=16, **SIZES)),
    "caser": (Caser, CaserConfig(vertical=2, horizontal=4, batch_rows=32, **SIZES)),
}


class World:
    """The shared windows as item indices: item `i7` is 7."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        users = windows.of("train").groupby("user_id", sort=False)
        self.sequences = [
            np.array([int(item[1:]) for item in [rows["history"].iloc[0][0], *rows["target"]]]) for _, rows in users
        ]

    def rows(self, period: Period) -> tuple[list[list[int]], np.ndarray]:
        rows = self.windows.of(period)
        histories = [[int(item[1:]) for item in history] for history in rows["history"]]
        return histories, np.array([int(item[1:]) for item in rows["target"]])

    def score(self, recommender: Recommender) -> float:
        """NDCG@5 on the test rows."""
        histories, targets = self.rows("test")
        return float(ndcg(target_ranks(recommender.recommend(histories, 5).items, targets), 5).mean())

    def fit(self, name: str, **changes: object) -> SequentialRecommender:
        model_type, config = FITS[name]
        data = FitData(self.sequences, WORLD_ITEMS, *self.rows("valid"))
        return model_type.fit(data, config.model_copy(update=changes))


@pytest.fixture(scope="module")
def world(world_windows: Windows) -> World:
    return World(world_windows)


@pytest.fixture(scope="module", params=FITS)
def fitted(request: pytest.FixtureRequest, world: World) -> tuple[str, SequentialRecommender]:
    return request.param, world.fit(request.param)


def test_it_clearly_beats_popularity(fitted: tuple[str, SequentialRecommender], world: World) -> None:
    floor = world.score(Popularity.fit(world.sequences, WORLD_ITEMS))
    assert floor < 0.25  # the world is no easier than that: a blind list of 5 of 24 gets about 0.12
    assert world.score(fitted[1]) > floor + 0.4  # knowing the rule gives 0.8 + 0.2 / log2(3) = 0.93


@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        (EASE, EASEConfig(l2=1.0, recency=0.3)),
        (ItemKNN, ItemKNNConfig(shrinkage=1.0, recency=0.3)),
        (CoOccurrence, CoOccurrenceConfig(window=3, decay=0.3, recency=0.3)),
    ],
)
def test_item_item_models_clearly_beat_popularity(
    model_type: type[ItemModel], config: ItemItemConfig, world: World
) -> None:
    floor = world.score(Popularity.fit(world.sequences, WORLD_ITEMS))
    data = FitData(world.sequences, WORLD_ITEMS, *world.rows("valid"))
    assert world.score(model_type.fit(data, config)) > floor + 0.2


def test_the_same_seed_gives_the_same_model(fitted: tuple[str, SequentialRecommender], world: World) -> None:
    name, model = fitted
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert world.fit(name).curves == model.curves
    assert torch.equal(before, torch.get_rng_state())
    other = world.fit(name, seed=1, epochs=1)
    assert other.curves[0] != world.fit(name, epochs=1).curves[0]


def test_saved_and_loaded_it_ranks_the_same(
    fitted: tuple[str, SequentialRecommender], world: World, tmp_path: Path
) -> None:
    name, model = fitted
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.safetensors", "manifest.json"}
    loaded = FITS[name][0].load(tmp_path)
    ours, theirs = (each.recommend(world.rows("test")[0], 5) for each in (model, loaded))
    assert np.array_equal(ours.items, theirs.items)
    assert np.array_equal(ours.scores, theirs.scores)
    assert (loaded.name, loaded.curves, loaded.config) == (model.name, model.curves, model.config)


def test_of_a_longer_history_the_last_items_count(fitted: tuple[str, SequentialRecommender]) -> None:
    model = fitted[1]
    long, short = model.recommend([[9, 20, 1, 2, 3, 4]], 5), model.recommend([[1, 2, 3, 4]], 5)
    assert np.array_equal(long.items, short.items)


@pytest.mark.parametrize("name", FITS)
def test_a_loss_that_diverges_names_the_setting(name: str, world: World) -> None:
    with pytest.raises(RereError, match=f"lower the `learning_rate` of {name}"):
        world.fit(name, learning_rate=1e30, weight_decay=0.0)


@pytest.mark.parametrize("updates", [1, 2, 9, 10, 11])
def test_any_number_of_updates_will_do(updates: int) -> None:
    config = GRU4RecConfig(width=8, epochs=1, batch_rows=1, history_items=4)
    model = GRU4Rec.fit(FitData([np.array([0, 1])] * updates, 3, [[0]], [1]), config)
    assert np.isfinite(model.curves[0]["train_loss"])
