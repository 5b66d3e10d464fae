"""Every number that a model is judged by, defined once.

A prompt has one relevant item, its target. `ranks` are (P,) int64: the target's 1-based position in the list, 0 when it
is not in it. `items` are (P, K) int64 item indices, best first, -1 in a slot without an item. K is a list's cut-off:
list metrics take the first K columns from their caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rere.errors import RereError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def target_ranks(items: Int[np.ndarray, "P K"], targets: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
    """(P, K) lists, (P,) targets -> (P,) int64 ranks: the first position of the target, 0 for none."""
    found = items == np.asarray(targets)[:, None]
    return np.where(found.any(1), found.argmax(1) + 1, 0).astype(np.int64)


def hit_rate(ranks: Int[np.ndarray, " P"], k: int) -> Float[np.ndarray, " P"]:
    """HR@K per row: 1 when the target is in the first K, else 0 (Recall@K, with one relevant item)."""
    return ((ranks > 0) & (ranks <= k)).astype(np.float64)


def ndcg(ranks: Int[np.ndarray, " P"], k: int) -> Float[np.ndarray, " P"]:
    """NDCG@K per row: 1/log2(rank + 1) within the first K, else 0; the ideal list has DCG 1.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
    """
    return hit_rate(ranks, k) / np.log2(np.maximum(ranks, 1) + 1)


ROW_METRICS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"hr": hit_rate, "ndcg": ndcg}


def row_metric(name: str, ranks: Int[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """(P,) float64 values of a metric named like `ndcg@10`; raises RereError on an unknown name."""
    kind, _, k = name.partition("@")
    if kind not in ROW_METRICS or not k.isdecimal() or int(k) < 1:
        known = " or ".join(f"{metric}@10" for metric in ROW_METRICS)
        raise RereError(f"a metric like {known}", repr(name), "correct the metric's name")
    return ROW_METRICS[kind](ranks, int(k))


def coverage(items: Int[np.ndarray, "P K"], catalogue: int) -> float:
    """Catalogue coverage: distinct items over all lists, as a share of the catalogue's I items.

    Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy", RecSys 2010.
    """
    return len(np.unique(items[_valid(items, catalogue)])) / catalogue


def diversity(items: Int[np.ndarray, "P K"], catalogue: int) -> float:
    """How much two rows' lists differ: 1 - |A ∩ B|/K, averaged over all pairs of rows; 0 when all are equal.

    With c_i lists holding item i, the mean of |A ∩ B| is sum_i c_i(c_i - 1) / (P(P - 1)). The inter-list
    (Hamming) diversity of Zhou et al., "Solving the apparent diversity-accuracy dilemma", PNAS 2010. NaN for one row.
    """
    rows, width = len(items), min(items.shape[1], catalogue)
    if rows < 2:
        return float("nan")
    once = np.where(_valid(items, catalogue) & ~_repeats(items), items, catalogue)
    lists = np.bincount(once.ravel(), minlength=catalogue + 1)[:catalogue].astype(np.float64)
    return float(1 - (lists * (lists - 1)).sum() / (rows * (rows - 1)) / width)


def popularity_bias(items: Int[np.ndarray, "P K"], training_counts: Int[np.ndarray, " I"]) -> float:
    """The mean training-popularity percentile of the items recommended.

    An item's percentile is the share of the catalogue with fewer training interactions, equals counted half: lists
    drawn at random score 0.5, the most popular items nearly 1. The rank form of the average recommendation
    popularity of Abdollahpouri, Burke and Mobasher, "Managing popularity bias", FLAIRS 2019.

    Args:
        training_counts: (I,) training interactions per item.
    """
    ordered = np.sort(training_counts)
    below = np.searchsorted(ordered, training_counts, "left")  # items with fewer interactions
    at_most = np.searchsorted(ordered, training_counts, "right")  # with as many, or fewer
    percentile = (below + at_most) / 2 / len(ordered)
    shown = items[_valid(items, len(ordered))]
    return float(percentile[shown].mean()) if len(shown) else float("nan")


def invalid_slots(
    items: Int[np.ndarray, "P K"], catalogue: int, scores: Float[np.ndarray, "P K"] | None = None
) -> Int[np.ndarray, " P"]:
    """(P,) int64: slots taken by what is no item of the catalogue, and empty slots that an item could have filled.

    A list could fill min(K, I) slots. A slot is taken when its score is finite, whatever it holds: a model that
    writes freely has -1 with a score where it wrote no item.

    Args:
        scores: (P, K), -inf in empty slots; left out: slots with -1 are empty.
    """
    taken = items >= 0 if scores is None else (items >= 0) | np.isfinite(scores)
    wrong = (taken & ~_valid(items, catalogue)).sum(1)
    return wrong + np.maximum(min(items.shape[1], catalogue) - taken.sum(1), 0)


def duplicate_slots(items: Int[np.ndarray, "P K"]) -> Int[np.ndarray, " P"]:
    """(P,) int64: slots that hold an item which stands higher in the same list."""
    return _repeats(items).sum(1)


def _valid(items: Int[np.ndarray, "P K"], catalogue: int) -> Bool[np.ndarray, "P K"]:
    return (items >= 0) & (items < catalogue)


def _repeats(items: Int[np.ndarray, "P K"]) -> Bool[np.ndarray, "P K"]:
    """(P, K) bool: the item occurs earlier in its row; empty slots don't count."""
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    same = np.zeros(items.shape, dtype=bool)
    same[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    repeats = np.empty_like(same)
    np.put_along_axis(repeats, order, same, axis=1)
    return repeats
