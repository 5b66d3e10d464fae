"""Hand-worked numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from rere.errors import RereError
from rere.evaluation.metrics import (
    coverage,
    diversity,
    duplicate_slots,
    hit_rate,
    invalid_slots,
    ndcg,
    popularity_bias,
    row_metric,
    target_ranks,
)


def test_ranks_are_one_based_and_zero_when_absent() -> None:
    items = np.array([[5, 3, 9], [5, 3, 9], [5, 3, -1], [7, 7, 1]])
    assert target_ranks(items, np.array([5, 9, 8, 7])).tolist() == [1, 3, 0, 1]


def test_hit_rate_and_ndcg() -> None:
    ranks = np.array([0, 1, 2, 3, 4])
    assert hit_rate(ranks, 3).tolist() == [0, 1, 1, 1, 0]
    # 1/log2(2) = 1, 1/log2(3) = 0.63093, 1/log2(4) = 0.5, and rank 4 is past the cut
    np.testing.assert_allclose(ndcg(ranks, 3), [0, 1, 1 / math.log2(3), 0.5, 0])
    np.testing.assert_array_equal(row_metric("ndcg@3", ranks), ndcg(ranks, 3))
    np.testing.assert_array_equal(row_metric("hr@1", ranks), [0, 1, 0, 0, 0])


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "recall@10", "@5", "hr@ten"])
def test_an_unknown_metric_is_a_clear_error(name: str) -> None:
    with pytest.raises(RereError, match="a metric like hr@10 or ndcg@10"):
        row_metric(name, np.array([1]))


def test_coverage_counts_distinct_items_of_the_catalogue() -> None:
    assert coverage(np.array([[0, 1], [1, -1], [9, 0]]), catalogue=4) == 2 / 4  # 9 and -1 are none of its items


def test_diversity_is_the_mean_over_pairs() -> None:
    # pairs: {0,1}&{1,2} share 1 of 2; {0,1}&{2,3} 0; {1,2}&{2,3} 1 -> mean overlap (1/2 + 0 + 1/2)/3 = 1/3
    items = np.array([[0, 1], [1, 2], [2, 3]])
    assert diversity(items, catalogue=5) == pytest.approx(2 / 3)
    assert diversity(np.array([[0, 1], [1, 0]]), catalogue=5) == 0
    assert diversity(np.array([[0, 1], [2, 3]]), catalogue=5) == 1
    assert math.isnan(diversity(items[:1], catalogue=5))


def test_diversity_against_all_pairs() -> None:
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(9)[:4] for _ in range(7)])
    pairs = [1 - len({*a} & {*b}) / 4 for a, b in itertools.combinations(items.tolist(), 2)]
    assert diversity(items, catalogue=9) == pytest.approx(np.mean(pairs))


def test_popularity_bias_is_a_mean_percentile() -> None:
    # counts 0, 5, 5, 20: percentiles 1/8, (1 + 3)/2/4 = 1/2, 1/2, 7/8
    counts = np.array([0, 5, 5, 20])
    assert popularity_bias(np.array([[3, 1]]), counts) == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert popularity_bias(np.array([[0, 1, 2, 3]]), counts) == pytest.approx(0.5)
    assert math.isnan(popularity_bias(np.array([[-1]]), counts))


def test_invalid_slots_are_those_that_an_item_could_have_filled() -> None:
    items = np.array([[0, 1, 2], [0, 1, -1], [0, 7, -1], [-1, -1, -1]])
    assert invalid_slots(items, catalogue=7).tolist() == [0, 1, 2, 3]
    assert invalid_slots(items, catalogue=2).tolist() == [1, 0, 1, 2]  # two items exist: two slots to fill


def test_a_scored_place_without_an_item_is_invalid_wherever_it_stands() -> None:
    items = np.array([[-1, 0, -1, 1], [-1, 0, 0, 1], [0, 1, -1, -1]])
    scores = np.array([[-1, -2, -3, -4], [-1, -2, -3, -4], [-1, -2, -np.inf, -np.inf]])
    assert invalid_slots(items, 9, scores).tolist() == [2, 1, 2]
    # two items exist: the first list wrote two sequences that are none; the last one is complete
    assert invalid_slots(items, 2, scores).tolist() == [2, 1, 0]
    assert duplicate_slots(items).tolist() == [0, 1, 0]
    assert target_ranks(items, np.array([1, 1, 1])).tolist() == [4, 4, 2]  # a place taken in vain counts


def test_duplicate_slots_leave_empty_slots_alone() -> None:
    items = np.array([[1, 2, 3], [1, 2, 1], [4, 4, 4], [-1, -1, 2]])
    assert duplicate_slots(items).tolist() == [0, 1, 2, 0]
