"""Item-kNN and forward co-occurrence against numbers worked by hand, and what all item-item models share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.sparse import csr_array

from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_item import returning_share
from rere.recommenders.item_knn import ItemKNN, ItemKNNConfig
from rere.recommenders.item_model import FitData

COUNTS = np.array([1, 0, 4])  # popularity 2/8, 1/8, 5/8


def co_occurrence(weights: Sequence[Sequence[float]], returns: float = 0.0, **settings: float) -> CoOccurrence:
    return CoOccurrence(csr_array(np.array(weights)), COUNTS, returns, CoOccurrenceConfig.model_validate(settings))


def test_what_came_next_counts_and_fades_with_distance() -> None:
    sequences = [np.array([0, 1, 2]), np.array([0, 2])]
    counts = CoOccurrence.fit_weights(
        FitData(sequences, 4, [], []), CoOccurrenceConfig(window=2, decay=0.5, row_power=0)
    )
    # 0 -> 1 once; 0 -> 2 once at once and once after another item: 1 + 0.5; 1 -> 2 once; nothing backwards
    expected = np.array([[0, 1, 1.5, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(counts.toarray(), expected)
    shares = CoOccurrence.fit_weights(
        FitData(sequences, 4, [], []), CoOccurrenceConfig(window=2, decay=0.5, row_power=1)
    )
    np.testing.assert_allclose(shares.toarray()[0], [0, 1 / 2.5, 1.5 / 2.5, 0])
    halfway = CoOccurrence.fit_weights(
        FitData(sequences, 4, [], []), CoOccurrenceConfig(window=2, decay=0.5, row_power=0.5)
    )
    np.testing.assert_allclose(halfway.toarray()[0], [0, 1 / 2.5**0.5, 1.5 / 2.5**0.5, 0])


def test_the_window_ends_and_no_pair_spans_two_users() -> None:
    data = FitData([np.array([0, 1, 2]), np.array([3])], 4, [], [])
    near = CoOccurrence.fit_weights(data, CoOccurrenceConfig(window=1, decay=1, row_power=0))
    assert near.toarray().nonzero()[0].tolist() == [0, 1]
    assert near.toarray().nonzero()[1].tolist() == [1, 2]
    assert CoOccurrence.fit_weights(FitData([], 4, [], []), CoOccurrenceConfig()).nnz == 0


def test_similarities_are_shrunk_cosines_and_only_the_nearest_stay() -> None:
    sequences = [np.array([0, 1, 2, 0]), np.array([2, 0]), np.array([0])]  # users: 3, 1 and 2; a repeat counts once
    every = ItemKNN.fit_weights(FitData(sequences, 4, [], []), ItemKNNConfig(shrinkage=1))
    n01, n02, n12 = 1 / (3**0.5 + 1), 2 / (6**0.5 + 1), 1 / (2**0.5 + 1)
    expected = np.array([[0, n01, n02, 0], [n01, 0, n12, 0], [n02, n12, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(every.toarray(), expected)
    nearest = ItemKNN.fit_weights(FitData(sequences, 4, [], []), ItemKNNConfig(shrinkage=1, neighbours=1))
    kept = np.array([[0, 0, n02, 0], [0, 0, n12, 0], [n02, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(nearest.toarray(), kept)
    assert ItemKNN.fit_weights(FitData([], 4, [], []), ItemKNNConfig()).nnz == 0


def test_older_items_count_less_and_a_repeat_by_its_latest_position() -> None:
    weights = [[0, 1.0, 2.0], [3.0, 0, 5.0], [7.0, 11.0, 0]]
    model = co_occurrence(weights, recency=0.5)
    # 2 is last: 1; 0 stands before it: 0.5; the first 2 adds nothing
    np.testing.assert_allclose(model.scores([[2, 0, 2]])[0], [7.0, 11.5, 1.0])
    np.testing.assert_allclose(model.scores([[1, 2, 0]])[0], [3 / 4 + 7 / 2, 11 / 2 + 1, 5 / 4 + 2])
    short = co_occurrence(weights, recency=0.5, history_items=1)
    np.testing.assert_allclose(short.scores([[1, 2, 0]])[0], [0, 1.0, 2.0])


def test_scores_become_probabilities_with_a_part_of_popularity() -> None:
    model = co_occurrence([[0, 1.0, 3.0], [0, 0, 0], [0, 0, 0]], returns=0.0, popularity=0.2)
    # after 0: 0.8 · (0, 1/4, 3/4) + 0.2 · (2/8, 1/8, 5/8) = .05, .225, .725; nobody returns, so 1 and 2 share all
    found = np.exp(model.log_probs([[0]])[0])
    np.testing.assert_allclose(found[1:], [0.225 / 0.95, 0.725 / 0.95], rtol=1e-6)
    assert found[0] < 1e-9
    unknown = np.exp(model.log_probs([[1], []]))
    np.testing.assert_allclose(unknown[0, [0, 2]], [2 / 7, 5 / 7], rtol=1e-6)  # related to nothing: popularity
    np.testing.assert_allclose(unknown[1], [2 / 8, 1 / 8, 5 / 8], rtol=1e-6)  # no history: popularity


def test_items_of_the_history_get_the_share_of_those_who_returned() -> None:
    model = co_occurrence([[0, 1.0, 3.0], [0, 0, 0], [0, 0, 0]], returns=0.4, popularity=0.2)
    np.testing.assert_allclose(
        np.exp(model.log_probs([[0]])[0]), [0.4, 0.6 * 0.225 / 0.95, 0.6 * 0.725 / 0.95], rtol=1e-6
    )


def test_returns_are_counted_within_the_history() -> None:
    # targets of 0 1 0 2 0: 1 no; 0 after (0, 1) yes; 2 no; 0 after (0, 2) yes
    assert returning_share([np.array([0, 1, 0, 2, 0])], 2) == pytest.approx(2 / 4)
    assert returning_share([np.array([0, 1, 0, 2, 0])], 1) == 0
    assert returning_share([np.array([3])], 5) == 0


def test_a_fit_records_its_validation_score() -> None:
    sequences = [np.array([0, 1])] * 5
    model = CoOccurrence.fit(FitData(sequences, 3, [[0], [0]], [1, 2]), CoOccurrenceConfig())
    assert model.best_score() == pytest.approx(
        (1 + 1 / np.log2(3)) / 2
    )  # 1 is first; 2, unseen, before 0, which is in the history
