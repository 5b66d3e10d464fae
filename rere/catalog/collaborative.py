"""Item vectors from what users took together: positive pointwise mutual information, reduced by truncated SVD.

Items that are taken together are near, and so are those that are taken with the same others. As Levy, Goldberg and
Dagan do with words ("Improving Distributional Similarity with Lessons Learned from Word Embeddings", 2015), an item's
vector is the sum of what it is beside others and what others are beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array
from sklearn.utils.extmath import randomized_svd

from rere.catalog.embeddings import unit
from rere.config.catalog import FromUsers

NEIGHBOURS = 5  # items whose vectors one without interactions gets the mean of
BLOCK = 1024  # such items at once
TINY = 1e-4  # a vector's length, or a cosine, below this is rounding error


def collaborative_vectors(
    sequences: Sequence[np.ndarray], from_titles: np.ndarray, config: FromUsers, seed: int
) -> np.ndarray:
    """A unit vector for each item; an item without information of its own gets that of the nearest titles.

    Args:
        sequences: each user's items, as row numbers of `from_titles`, oldest first.
        from_titles: (I, width) unit vectors of the titles.

    Returns:
        (I, D) float32. Where no two items were ever taken together these are the vectors of the titles.
    """
    items = len(from_titles)
    shared = ppmi(together(sequences, items, config.window))
    left, strength, right = randomized_svd(shared, min(config.dimensions, items), n_iter=7, random_state=seed)
    vectors = ((left + right.T) * np.sqrt(strength)).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    known, unknown = np.flatnonzero(lengths > TINY), np.flatnonzero(lengths <= TINY)
    if len(unknown):
        logging.getLogger(__name__).info(
            "%s of %s items were taken with no others than by chance in the training period, if at all: each has the "
            "mean vector of similar titles.",
            f"{len(unknown):,}",
            f"{items:,}",
        )
    if not len(known):
        return from_titles
    vectors[known] /= lengths[known, None]
    for low in range(0, len(unknown), BLOCK):
        own = unknown[low : low + BLOCK]
        vectors[own] = _of_nearest(from_titles[own], from_titles[known], vectors[known])
    return vectors


def together(sequences: Sequence[np.ndarray], items: int, window: int) -> csr_array:
    """(I, I) symmetric: how often two different items occur in one sequence, at most `window` positions apart."""
    flat = np.concatenate([np.empty(0, dtype=np.int64), *sequences]).astype(np.int64)
    sequence_of = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    counts = csr_array((items, items), dtype=np.float64)
    for distance in range(1, min(window, len(flat) - 1) + 1):
        first, second = flat[:-distance], flat[distance:]
        pair = (sequence_of[:-distance] == sequence_of[distance:]) & (first != second)
        found = coo_array((np.ones(int(pair.sum())), (first[pair], second[pair])), shape=(items, items)).tocsr()
        counts = counts + found + found.T.tocsr()
    return counts


def ppmi(counts: csr_array) -> csr_array:
    """Positive pointwise mutual information of symmetric counts: max(0, log(n_ij n / (n_i n_j)))."""
    of_item = counts.sum(1)
    pairs = counts.tocoo()
    expected = of_item[pairs.row] * of_item[pairs.col] / max(of_item.sum(), 1.0)
    information = np.log(pairs.data / expected)
    kept = information > 0
    values = (information[kept], (pairs.row[kept], pairs.col[kept]))
    return coo_array(values, shape=counts.shape).tocsr()


def _of_nearest(titles: np.ndarray, known_titles: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The mean of the vectors whose titles are nearest, by cosine; the mean of all for a title like no other.

    Args:
        titles: (N, width) unit vectors.
        known_titles, known: (K, width), (K, D) unit vectors of the items that have collaborative ones.
    """
    cosines = titles @ known_titles.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = np.take_along_axis(cosines, nearest, axis=1)
    weights[weights < TINY] = 0
    means = np.einsum("nk,nkd->nd", weights, known[nearest])
    means[weights.sum(1) == 0] = known.mean(0)
    return unit(means)
