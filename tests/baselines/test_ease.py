"""EASE against a ridge regression a column, and its scores against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from rere.recommenders.ease import EASE, EASEConfig, fit_ease

ITEMS, UNSEEN = 9, 8
RANDOM = np.random.default_rng(0)
SEQUENCES = [RANDOM.integers(0, UNSEEN, RANDOM.integers(1, 7)) for _ in range(30)]  # with repeats
CONFIG = EASEConfig(l2=2.5, recency=1.0)


def ridge_by_column(sequences: list[np.ndarray], items: int, l2: float) -> np.ndarray:
    """Each item regressed on all others: what a zero diagonal means."""
    table = np.zeros((len(sequences), items))
    for user, sequence in enumerate(sequences):
        for item in sequence:
            table[user, item] = 1
    weights = np.zeros((items, items))
    for item in range(items):
        others = [other for other in range(items) if other != item]
        known = table[:, others]
        gram = known.T @ known + l2 * np.eye(items - 1)
        weights[others, item] = np.linalg.solve(gram, known.T @ table[:, item])
    return weights


@pytest.mark.parametrize("l2", [0.1, 2.5, 300.0])
def test_the_closed_form_is_a_ridge_regression_a_column(l2: float) -> None:
    model = fit_ease(SEQUENCES, ITEMS, EASEConfig(l2=l2))
    assert model.weights.dtype == np.float64
    np.testing.assert_allclose(model.weights, ridge_by_column(SEQUENCES, ITEMS, l2), atol=1e-12)
    assert (np.diag(model.weights) == 0).all()


def test_fitting_again_gives_the_same_bits() -> None:
    first, second = fit_ease(SEQUENCES, ITEMS, CONFIG), fit_ease(SEQUENCES, ITEMS, CONFIG)
    assert np.array_equal(first.weights, second.weights)


def test_a_repeat_within_a_sequence_counts_once() -> None:
    repeated = [np.concatenate([sequence, sequence]) for sequence in SEQUENCES]
    assert np.array_equal(fit_ease(repeated, ITEMS, CONFIG).weights, fit_ease(SEQUENCES, ITEMS, CONFIG).weights)


def test_older_items_count_less_and_a_repeat_by_its_latest_place() -> None:
    weights = np.array([[0, 1.0, 2.0], [3.0, 0, 5.0], [7.0, 11.0, 0]])
    model = EASE(weights, EASEConfig(recency=0.5))
    # 2 is last: 1; 0 stands before it: 0.5; the first 2 adds nothing
    np.testing.assert_allclose(model.scores([2, 0, 2]), 1 * weights[2] + 0.5 * weights[0])
    np.testing.assert_allclose(model.scores([1, 2, 0]), 0.25 * weights[1] + 0.5 * weights[2] + 1 * weights[0])
    ranking = model.recommend([[2, 0, 2]], 3)
    assert ranking.items.tolist() == [[1, 0, 2]]  # 11.5, 7 and 1: what was seen stays in the list
    np.testing.assert_allclose(ranking.scores, [[11.5, 7.0, 1.0]])


def test_without_recency_the_order_does_not_matter() -> None:
    model = fit_ease(SEQUENCES, ITEMS, CONFIG)
    np.testing.assert_allclose(model.scores([1, 5, 3]), model.scores([3, 1, 5]), atol=1e-15)
    faded = fit_ease(SEQUENCES, ITEMS, EASEConfig(l2=2.5, recency=0.5))
    assert not np.allclose(faded.scores([1, 5, 3]), faded.scores([3, 1, 5]))


def test_what_nobody_took_has_no_weight_and_ties_go_by_index() -> None:
    model = fit_ease(SEQUENCES, ITEMS, CONFIG)
    assert (model.weights[UNSEEN] == 0).all()
    assert (model.weights[:, UNSEEN] == 0).all()
    assert model.recommend([[UNSEEN]], ITEMS).items[0].tolist() == list(range(ITEMS))
    assert fit_ease([], 4, CONFIG).recommend([[2]], 3).items.tolist() == [[0, 1, 2]]
