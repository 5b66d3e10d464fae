"""Item vectors from what users took together, and from both that and titles."""

from __future__ import annotations

from math import log

import numpy as np
import pandas as pd
import pytest

from rere.catalog.codes.semantic import SemanticCode
from rere.catalog.collaborative import ppmi, together
from rere.catalog.embeddings import embed_titles
from rere.catalog.index import CatalogIndex, build_index, index_dataset
from rere.catalog.item_vectors import item_vectors
from rere.config.catalog import BothEmbedding, CollaborativeEmbedding, IndexConfig, TitleEmbedding
from rere.data.dataset import Dataset, IngestReport
from rere.errors import RereError
from tests.conftest import TINY

# Users take 0 with 1, and 2 with 3; nobody takes 4 and 5. Titles say otherwise: 4's is like 0's, 5's like none.
TITLES = ["red apple", "blue sea", "green apple", "blue sky", "red apples", "xyzzy"]
SEQUENCES = [np.array([0, 1]), np.array([1, 0]), np.array([2, 3])]
COLLABORATIVE = CollaborativeEmbedding(dimensions=4)


def test_pairs_within_the_window_count_on_both_sides() -> None:
    counts = together([np.array([0, 1, 2, 0]), np.array([2])], 3, window=2)
    # 0-1, 1-2, 2-0 next to each other; 0-2 and 1-0 two apart; 0-0 is three apart, and one item anyway.
    np.testing.assert_array_equal(counts.toarray(), [[0, 2, 2], [2, 0, 1], [2, 1, 0]])


def test_pointwise_mutual_information_by_hand() -> None:
    found = ppmi(together(SEQUENCES, 6, window=10)).toarray()
    # Of 6 ordered pairs 0-1 are 2, and each of both is in 2: log(2 * 6 / (2 * 2)). 2-3: log(1 * 6 / (1 * 1)).
    expected = np.zeros((6, 6))
    expected[0, 1] = expected[1, 0] = log(3)
    expected[2, 3] = expected[3, 2] = log(6)
    np.testing.assert_allclose(found, expected)


def test_what_goes_together_less_than_by_chance_counts_as_nothing() -> None:
    counts = together([np.array([0, 1])] * 9 + [np.array([2, 3])] * 9 + [np.array([0, 2])], 4, window=1)
    assert ppmi(counts).toarray()[0, 2] == 0


def test_items_taken_together_are_near_whatever_their_titles() -> None:
    vectors = item_vectors(TITLES, COLLABORATIVE, SEQUENCES)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(
        vectors[:4] @ vectors[:4].T, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], atol=1e-5
    )


def test_an_item_that_nobody_took_is_where_the_nearest_titles_are() -> None:
    vectors = item_vectors(TITLES, COLLABORATIVE, SEQUENCES)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[4] @ vectors[0] > vectors[4] @ vectors[2] > 0
    mean = vectors[:4].mean(0)
    np.testing.assert_allclose(vectors[5], mean / np.linalg.norm(mean), atol=1e-5)  # like no title: amidst all


def test_users_who_took_one_item_each_leave_only_titles() -> None:
    alone = [np.array([0]), np.array([3])]
    np.testing.assert_array_equal(item_vectors(TITLES, COLLABORATIVE, alone), item_vectors(TITLES, COLLABORATIVE.title))


@pytest.mark.parametrize("weight", [0.5, 0.8])
def test_both_weigh_the_cosines_of_titles_and_of_users(weight: float) -> None:
    both = item_vectors(TITLES, BothEmbedding(dimensions=4, weight=weight), SEQUENCES)
    titles, users = item_vectors(TITLES, TitleEmbedding()), item_vectors(TITLES, COLLABORATIVE, SEQUENCES)
    np.testing.assert_allclose(both @ both.T, (1 - weight) * titles @ titles.T + weight * users @ users.T, atol=1e-5)


def test_the_same_seed_gives_the_same_vectors() -> None:
    first, second = (item_vectors(TITLES, BothEmbedding(), SEQUENCES, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("sequences", [None, [], [np.array([], dtype=np.int64)]])
def test_without_interactions_it_is_one_clear_error(sequences: list[np.ndarray] | None) -> None:
    with pytest.raises(RereError, match=r"interactions of the training period.*collaborative.*tfidf"):
        item_vectors(TITLES, COLLABORATIVE, sequences)


def dataset(period: str) -> Dataset:
    """Training sequences as above, and nine of another period for each, which take 0 with 2 and 1 with 3."""
    pairs = [([0, 1], "train"), ([1, 0], "train"), ([2, 3], "train")]
    pairs += [(pair, period) for pair in ([0, 2], [1, 3]) for _ in range(9) if period]
    rows = [(f"u{user}", f"i{item}", n, own) for user, (pair, own) in enumerate(pairs) for n, item in enumerate(pair)]
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "period"])
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(6)], "title": TITLES})
    report = IngestReport(source="hand", source_sha256={}, read={}, dropped={}, kept={})
    return Dataset(interactions, items, report)


def index(data: Dataset) -> CatalogIndex:
    code = SemanticCode(embedding=COLLABORATIVE, levels=1, codewords=2)
    return index_dataset(data, IndexConfig(code=code, backbone=TINY))


def test_semantic_ids_are_of_what_users_took_together() -> None:
    first = [codes[0] for codes in index(dataset("")).item_tokens[:4]]
    assert first[0] == first[1] != first[2] == first[3]


@pytest.mark.parametrize("period", ["valid", "test"])
def test_neither_validation_nor_test_tells_the_codes_anything(period: str) -> None:
    assert index(dataset(period)).item_tokens == index(dataset("")).item_tokens
    seen = [codes[0] for codes in index(dataset("train")).item_tokens[:4]]
    assert seen[0] == seen[2] != seen[1] == seen[3]  # seen in training, they would change the codes


def test_codes_from_users_need_a_data_set() -> None:
    config = IndexConfig(code=SemanticCode(embedding=COLLABORATIVE), backbone=TINY)
    with pytest.raises(RereError, match="interactions of the training period"):
        build_index(dataset("").items, config)


def test_codes_from_titles_read_no_interaction() -> None:
    """A default run's index doesn't depend on them, and isn't slower."""
    data = dataset("")
    broken = Dataset(data.interactions.drop(columns="item_id"), data.items, data.report)
    config = IndexConfig(code=SemanticCode(levels=1, codewords=2), backbone=TINY)
    assert index_dataset(broken, config).item_tokens == build_index(data.items, config).item_tokens


def test_title_vectors_are_as_before() -> None:
    np.testing.assert_array_equal(
        item_vectors(TITLES, TitleEmbedding(), seed=1), embed_titles(TITLES, TitleEmbedding(), 1)
    )
