"""Titles' similarities against TF-IDF vectors and cosines worked out word by word, and what is ranked by them."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from rere.config.served_model import ServedModelConfig
from rere.errors import RereError
from rere.recommenders.item_model import FitData
from rere.recommenders.prior import Prior
from rere.recommenders.title_knn import TitleKNN, TitleKNNConfig, title_similarities

TITLES = ["Red car", "red bus, red door", "Blue bus", "Chess", "Go!"]
SEQUENCES = [np.array([0, 2, 3]), np.array([3, 2])]  # nobody took 1 and 4


def by_hand(titles: list[list[str]]) -> np.ndarray:
    """Cosines of (1 + log count) · (1 + log((1 + titles) / (1 + titles with the word)))."""
    words = sorted({word for title in titles for word in title})
    rarity = {word: 1 + log((1 + len(titles)) / (1 + sum(word in title for title in titles))) for word in words}
    vectors = [
        [(1 + log(title.count(word))) * rarity[word] if word in title else 0.0 for word in words] for title in titles
    ]
    lengths = [sqrt(sum(value**2 for value in vector)) for vector in vectors]
    return np.array(
        [
            [
                sum(a * b for a, b in zip(one, other, strict=True)) / (m * n)
                for other, n in zip(vectors, lengths, strict=True)
            ]
            for one, m in zip(vectors, lengths, strict=True)
        ]
    )


def test_similarities_are_cosines_of_tf_idf_to_a_power() -> None:
    cosines = by_hand([["red", "car"], ["red", "bus", "red", "door"], ["blue", "bus"], ["chess"], ["go"]])
    np.fill_diagonal(cosines, 0.0)
    np.testing.assert_allclose(title_similarities(TITLES, 10, 1.0).toarray(), cosines)
    np.testing.assert_allclose(title_similarities(TITLES, 10, 3.0).toarray(), cosines**3)


def test_only_the_nearest_stay() -> None:
    nearest = title_similarities(TITLES, 1, 1.0).toarray()
    assert [np.flatnonzero(row).tolist() for row in nearest] == [[1], [0], [1], [], []]


def test_titles_without_words_are_alike_to_none() -> None:
    assert title_similarities(["!", "?"], 10, 1.0).nnz == 0
    model = TitleKNN.fit(FitData(SEQUENCES, 4, [[0]], [2], titles=["!"] * 4), TitleKNNConfig())
    ranking = model.recommend([[0]], 4)
    assert ranking.items[0].tolist() == [2, 3, 1, 0]  # by popularity; what was taken comes last: nobody returns


def test_an_item_that_nobody_took_is_ranked_by_its_title() -> None:
    model = TitleKNN.fit(FitData(SEQUENCES, 5, [[0]], [2], titles=TITLES), TitleKNNConfig())
    assert model.recommend([[0]], 1).items.tolist() == [[1]]


def test_a_title_is_needed_for_each_item() -> None:
    with pytest.raises(RereError, match="a title for each of 5 items"):
        TitleKNN.fit(FitData(SEQUENCES, 5, [[0]], [2], titles=TITLES[:2]), TitleKNNConfig())


def test_its_opinion_on_an_item_that_nobody_took_is_served_and_an_added_item_has_its_exposure() -> None:
    model = TitleKNN.fit(FitData(SEQUENCES, 5, [[0]], [2], titles=TITLES), TitleKNNConfig())
    prior = Prior(model.counts, ServedModelConfig(), model, share=1.0)
    own, served = model.log_probs([[0]])[0], prior.log_probs([[0]], 6)[0].numpy()
    np.testing.assert_allclose(served[:5] - served[0], own - own[0], rtol=1e-5)
    exposed = np.log(ServedModelConfig().new_item_exposure / 5)
    np.testing.assert_allclose(served[5] - np.logaddexp.reduce(served[:5]), exposed, rtol=1e-5)
