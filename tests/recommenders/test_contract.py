"""What every recommender promises, asked of each of them. A new one is one more line in `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import TitleEmbedding
from rere.config.recommenders import ItemModelsConfig
from rere.models.backbone import load_model
from rere.models.tree_attention import TreeModel
from rere.recommenders.base import Recommender
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.cross_catalog import CrossCatalogRecommender
from rere.recommenders.debiased import DebiasedRecommender
from rere.recommenders.ease import EASE, EASEConfig
from rere.recommenders.ensemble import EnsembleConfig
from rere.recommenders.fitting import fit_item_models
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.item_knn import ItemKNN, ItemKNNConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.popularity import Popularity
from rere.recommenders.sequential.caser import Caser, CaserConfig
from rere.recommenders.sequential.gru4rec import GRU4Rec, GRU4RecConfig
from rere.recommenders.sequential.sasrec import SASRec, SASRecConfig

HISTORIES = [[0, 1, 2], [3], [2, 2, 5, 1, 0, 4, 3], [1, 4]]
SEQUENCES = [np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4]), np.array([2, 0])]


def data(catalog: CatalogIndex) -> FitData:
    return FitData(SEQUENCES, len(catalog.item_ids), [[0]], [1], titles=catalog.items["title"].tolist())


def popularity(catalog: CatalogIndex) -> Recommender:
    return Popularity.fit(SEQUENCES, len(catalog.item_ids))


def sasrec(catalog: CatalogIndex) -> Recommender:
    config = SASRecConfig(layers=1, width=8, heads=1, feed_forward=8, epochs=1, history_items=4)
    return SASRec.fit(data(catalog), config)


def ease(catalog: CatalogIndex) -> Recommender:
    return EASE.fit(data(catalog), EASEConfig(l2=1.0))


def item_knn(catalog: CatalogIndex) -> Recommender:
    return ItemKNN.fit(data(catalog), ItemKNNConfig())


def co_occurrence(catalog: CatalogIndex) -> Recommender:
    return CoOccurrence.fit(data(catalog), CoOccurrenceConfig())


def ensemble(catalog: CatalogIndex) -> Recommender:
    settings = ItemModelsConfig(rivals=(EnsembleConfig(members=("ease", "co_occurrence")),))
    return fit_item_models(data(catalog), settings).models["ensemble"]


def gru4rec(catalog: CatalogIndex) -> Recommender:
    config = GRU4RecConfig(width=8, epochs=1, history_items=4)
    return GRU4Rec.fit(data(catalog), config)


def caser(catalog: CatalogIndex) -> Recommender:
    config = CaserConfig(width=8, vertical=1, horizontal=2, epochs=1, history_items=4)
    return Caser.fit(data(catalog), config)


def generative(catalog: CatalogIndex) -> GenerativeRecommender:
    model = load_model(catalog.config.backbone, len(catalog.tokenizer), seed=0)
    return GenerativeRecommender("generative", TreeModel(model), catalog, beams=4, batch_prompts=2)


def semantic_ids(catalog: CatalogIndex) -> Recommender:
    """TIGER's way: the same model, search and class over other codes."""
    code = SemanticCode(levels=2, codewords=4, embedding=TitleEmbedding(dimensions=4))
    config = catalog.config.model_copy(update={"code": code})
    return generative(build_index(catalog.items, config))


def debiased(catalog: CatalogIndex) -> Recommender:
    return DebiasedRecommender(generative(catalog), sasrec(catalog), 0.3)


def foreign(catalog: CatalogIndex) -> Recommender:
    return CrossCatalogRecommender(popularity(catalog), catalog.item_ids, catalog.item_ids)


MAKERS = [
    popularity,
    ease,
    item_knn,
    co_occurrence,
    ensemble,
    sasrec,
    gru4rec,
    caser,
    generative,
    semantic_ids,
    debiased,
    foreign,
]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def recommender(request: pytest.FixtureRequest, world_catalog: CatalogIndex) -> Recommender:
    maker: Callable[[CatalogIndex], Recommender] = request.param
    return maker(world_catalog)


def test_it_is_a_recommender(recommender: Recommender) -> None:
    assert isinstance(recommender, Recommender)
    assert recommender.name


def test_a_list_holds_k_distinct_items_of_the_catalogue(recommender: Recommender, world_catalog: CatalogIndex) -> None:
    ranking = recommender.recommend(HISTORIES, 5)
    assert ranking.items.shape == ranking.scores.shape == (4, 5)
    assert (ranking.items.dtype, ranking.scores.dtype) == (np.dtype(np.int64), np.dtype(np.float32))
    assert ((ranking.items >= 0) & (ranking.items < len(world_catalog.item_ids))).all()
    assert all(len(set(row)) == 5 for row in ranking.items.tolist())


def test_scores_fall(recommender: Recommender) -> None:
    scores = recommender.recommend(HISTORIES, 5).scores
    assert np.isfinite(scores).all()
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_list_longer_than_the_catalogue_names_every_item_once(
    recommender: Recommender, world_catalog: CatalogIndex
) -> None:
    size = len(world_catalog.item_ids)
    ranking = recommender.recommend(HISTORIES[:2], size + 3)
    for items, scores in zip(ranking.items, ranking.scores, strict=True):
        assert sorted(items[:size].tolist()) == list(range(size))
        assert (items[size:] == -1).all()
        assert np.isneginf(scores[size:]).all()


def test_rows_do_not_depend_on_their_company(recommender: Recommender) -> None:
    together = recommender.recommend(HISTORIES, 3)
    for row, history in enumerate(HISTORIES):
        alone = recommender.recommend([history], 3)
        assert alone.items[0].tolist() == together.items[row].tolist()
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-5)


def test_asking_twice_answers_the_same(recommender: Recommender) -> None:
    first, second = recommender.recommend(HISTORIES, 4), recommender.recommend(HISTORIES, 4)
    assert np.array_equal(first.items, second.items)
    assert np.array_equal(first.scores, second.scores)


def test_no_histories_give_no_rows(recommender: Recommender) -> None:
    assert recommender.recommend([], 3).items.shape == (0, 3)
