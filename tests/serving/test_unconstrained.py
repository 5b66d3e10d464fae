"""What a model writes freely, as a recommender, and how evaluation reports its invalid and repeated entries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from rere.catalog.codes.title import TitleCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.decoding import Multinomial
from rere.config.evaluation import EvaluationConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.evaluation.evaluator import evaluate, summarise
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.recommenders.base import Recommender
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.unconstrained import UnconstrainedRecommender
from rere.training.sft.train import train_sft
from tests.conftest import TINY, WORLD_ITEMS

CONFIG = EvaluationConfig(ks=(1, 3), beams=6, batch_prompts=64, bootstrap_samples=100)


@pytest.fixture(scope="module")
def catalog(world_items: pd.DataFrame) -> CatalogIndex:
    return build_index(world_items, IndexConfig(backbone=TINY, code=TitleCode()))


@pytest.fixture(scope="module")
def trained(world_windows: Windows, catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = SFTConfig(
        distillation=None, normalisation="vocab", epochs=10, learning_rate=2e-2, batch_tokens=256, sequence_items=8
    )
    return train_sft(world_windows, catalog, TINY, config, tmp_path_factory.mktemp("sft"), log=lambda *_: None)


def rates(recommender: Recommender, windows: Windows, catalog: CatalogIndex) -> tuple[pd.DataFrame, float, float]:
    results = evaluate(recommender, windows.of("test"), catalog.index_of, CONFIG)
    table = summarise(results, CONFIG, np.ones(WORLD_ITEMS)).set_index(["rows", "metric"])["mean"]
    return results, table["all", "invalid"], table["all", "duplicate"]


def test_evaluation_reports_what_beams_got_wrong(
    trained: Checkpoint, world_windows: Windows, catalog: CatalogIndex
) -> None:
    recommender = UnconstrainedRecommender("free", trained.path, catalog, beams=6)
    results, invalid, duplicate = rates(recommender, world_windows, catalog)
    items = np.array(results["items"].tolist())
    assert invalid == (items == -1).mean()
    assert 0 < invalid < 1
    assert duplicate == 0  # beams are distinct sequences, and each item has one
    assert np.isfinite(results["scores"].tolist()).all()
    # The constrained search finds the same valid items with the same scores, and no others.
    constrained = GenerativeRecommender("constrained", TreeModel(trained.load_model()), catalog, beams=WORLD_ITEMS)
    histories = [[catalog.index_of[item] for item in history] for history in world_windows.of("test")["history"]]
    every = constrained.recommend(histories, WORLD_ITEMS)
    for row, (listed, scores) in enumerate(zip(items, results["scores"], strict=True)):
        known = dict(zip(every.items[row].tolist(), every.scores[row].tolist(), strict=True))
        for item, score in zip(listed.tolist(), scores, strict=True):
            assert item == -1 or score == pytest.approx(known[item], abs=1e-3)


def test_evaluation_reports_repeated_draws(trained: Checkpoint, world_windows: Windows, catalog: CatalogIndex) -> None:
    recommender = UnconstrainedRecommender("draws", trained.path, catalog, beams=6, sampling=Multinomial())
    results, invalid, duplicate = rates(recommender, world_windows, catalog)
    lists = results["items"].tolist()
    repeated = sum(len(valid) - len(set(valid)) for valid in ([n for n in row if n >= 0] for row in lists))
    assert duplicate == repeated / (6 * len(lists))
    assert 0 < duplicate < 1
    assert invalid == np.mean(np.array(lists) == -1)
    again = rates(recommender, world_windows, catalog)[0]
    assert again["items"].tolist() == lists


def test_an_untrained_model_writes_hardly_an_item(world_windows: Windows, catalog: CatalogIndex) -> None:
    model = TreeModel(load_model(TINY, len(catalog.tokenizer), seed=0))
    _, invalid, _ = rates(UnconstrainedRecommender("random", model, catalog, beams=6), world_windows, catalog)
    assert invalid > 0.95


def test_its_lists_are_rankings(trained: Checkpoint, catalog: CatalogIndex) -> None:
    recommender = UnconstrainedRecommender("free", trained.path, catalog, beams=4, batch_prompts=2)
    assert isinstance(recommender, Recommender)
    histories = [[0, 1, 2], [3], [2, 2, 5, 1, 0, 4, 3], [1, 4]]
    ranking = recommender.recommend(histories, 5)
    assert ranking.items.shape == ranking.scores.shape == (4, 5)
    assert (ranking.items.dtype, ranking.scores.dtype) == (np.dtype(np.int64), np.dtype(np.float32))
    assert (np.diff(ranking.scores, axis=1) <= 0).all()
    for row, history in enumerate(histories):
        alone = recommender.recommend([history], 5)
        assert alone.items[0].tolist() == ranking.items[row].tolist()
        np.testing.assert_allclose(alone.scores[0], ranking.scores[row], atol=1e-4)
    assert recommender.recommend([], 3).items.shape == (0, 3)


def test_a_catalogue_without_end_tokens_is_refused(world_catalog: CatalogIndex) -> None:
    model = TreeModel(load_model(TINY, len(world_catalog.tokenizer), seed=0))
    with pytest.raises(RereError, match="code: title"):
        UnconstrainedRecommender("free", model, world_catalog)
    assert torch.is_grad_enabled()
