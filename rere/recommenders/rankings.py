"""Rankings from log-probabilities over the catalogue, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import log_softmax

from rere.errors import RereError
from rere.evaluation.metrics import ndcg, target_ranks
from rere.recommenders.base import Ranking, Recommender

ROWS_AT_ONCE = 256  # histories at once: bounds the (P, I) log-probabilities


def mean_ndcg(
    recommender: Recommender, histories: Sequence[Sequence[int]], targets: Sequence[int] | np.ndarray
) -> float:
    """Mean NDCG@10 of lists of ten; `targets` (R,) holds the item that follows each history."""
    return float(ndcg(target_ranks(recommender.recommend(histories, 10).items, np.asarray(targets)), 10).mean())


def ranking_log_probs(ranking: Ranking, items: int, name: str) -> np.ndarray:
    """(P, I) float64 log-probabilities: a softmax over the scores of whole rankings.

    Raises:
        RereError: a row without a finite score, or an item that the catalogue lacks.
    """
    if (ranking.items >= items).any():
        raise RereError(
            f"a model that ranks the catalogue's {items} items",
            f"item {ranking.items.max()} from {name}",
            "fit it on the same catalogue",
        )
    listed = (ranking.items >= 0) & np.isfinite(ranking.scores)
    if not listed.any(1).all():
        raise RereError(f"a finite score of {name} for each history", "none for some", "check how it was trained")
    scores = np.full((len(listed), items), -np.inf)
    row = np.broadcast_to(np.arange(len(listed))[:, None], listed.shape)
    scores[row[listed], ranking.items[listed]] = ranking.scores[listed]
    return np.asarray(log_softmax(scores, axis=1))


def rank_by(
    log_probs: Callable[[Sequence[Sequence[int]]], np.ndarray], histories: Sequence[Sequence[int]], k: int, items: int
) -> Ranking:
    """The k items of the highest log-probability, equal ones by index.

    Args:
        log_probs: histories -> (P, I).
        items: size of the catalogue, I.
    """
    width = min(k, items)
    found = np.full((len(histories), k), -1, dtype=np.int64)
    scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
    for start in range(0, len(histories), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        values = log_probs(histories[part])
        found[part, :width] = top = top_items(values, width)
        scores[part, :width] = np.take_along_axis(values, top, axis=1)
    return Ranking(found, scores)


def top_items(scores: np.ndarray, k: int) -> np.ndarray:
    """(P, I) scores -> (P, k) int64 indices of the best, best first; equal ones by index. k is at most I."""
    if 4 * k >= scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)
    least = -np.partition(-scores, k - 1, axis=1)[:, k - 1]  # sort only what reaches the k-th best
    found = np.empty((len(scores), k), dtype=np.int64)
    for row, (values, threshold) in enumerate(zip(scores, least, strict=True)):
        candidates = np.flatnonzero(values >= threshold)
        found[row] = candidates[np.argsort(-values[candidates], kind="stable")[:k]]
    return found
