"""EASE against a ridge regression a column, and its scores against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from rere.recommenders.ease import EASE, EASEConfig
from rere.recommenders.item_model import FitData

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
    weights = EASE.fit_weights(FitData(SEQUENCES, ITEMS, [], []), EASEConfig(l2=l2))
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, ridge_by_column(SEQUENCES, ITEMS, l2), atol=1e-12)
    assert (np.diag(weights) == 0).all()


def test_fitting_again_gives_the_same_bits() -> None:
    first, second = (EASE.fit_weights(FitData(SEQUENCES, ITEMS, [], []), CONFIG) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_repeat_within_a_sequence_counts_once() -> None:
    repeated = [np.concatenate([sequence, sequence]) for sequence in SEQUENCES]
    assert np.array_equal(
        EASE.fit_weights(FitData(repeated, ITEMS, [], []), CONFIG),
        EASE.fit_weights(FitData(SEQUENCES, ITEMS, [], []), CONFIG),
    )


def test_its_probabilities_are_a_softmax_of_the_scores() -> None:
    weights = np.array([[0, 1.0, 2.0], [3.0, 0, 5.0], [7.0, 11.0, 0]])
    model = EASE(weights, np.ones(3, dtype=np.int64), 0.5, EASEConfig(recency=0.5, sharpness=0.1))
    # [1, 0]: 0.5 · row 1 + row 0 = 1.5, 1, 4.5. The items 0 and 1 return with 0.5, and share it as e^.15 to e^.1
    expected = [
        0.5 * np.exp(0.15) / (np.exp(0.15) + np.exp(0.1)),
        0.5 * np.exp(0.1) / (np.exp(0.15) + np.exp(0.1)),
        0.5,
    ]
    np.testing.assert_allclose(np.exp(model.log_probs([[1, 0]])[0]), expected, rtol=1e-6)


def test_without_recency_the_order_does_not_matter() -> None:
    data = FitData(SEQUENCES, ITEMS, [[0]], [1])
    model = EASE.fit(data, CONFIG)
    first, second = model.scores([[1, 5, 3], [3, 1, 5]])
    np.testing.assert_allclose(first, second, atol=1e-15)
    faded = EASE.fit(data, EASEConfig(l2=2.5, recency=0.5))
    first, second = faded.scores([[1, 5, 3], [3, 1, 5]])
    assert not np.allclose(first, second)


def test_what_nobody_took_has_no_weight() -> None:
    weights = EASE.fit_weights(FitData(SEQUENCES, ITEMS, [], []), CONFIG)
    assert (weights[UNSEEN] == 0).all()
    assert (weights[:, UNSEEN] == 0).all()
    assert (EASE.fit_weights(FitData([], 4, [], []), CONFIG) == 0).all()
