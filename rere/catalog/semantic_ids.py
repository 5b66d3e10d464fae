"""Semantic IDs: items as a few codewords, near items with the same first ones (TIGER, arXiv 2305.05065).

TIGER learns the codewords with a residual-quantised autoencoder; here they are residual k-means centroids
of the item vectors, which needs no training of a network and has no codeword that nothing uses.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from sklearn.cluster import KMeans

DECIMALS = 6  # of a residual: what is left below is rounding error, no reason to part two items


def semantic_codes(vectors: np.ndarray, levels: int, codewords: int, seed: int) -> list[list[int]]:
    """Distinct codes, of which none begins another.

    Items that share all `levels` codewords get one more, which numbers them in the order of the rows.

    Args:
        vectors: (I, D) float, at least one row.
        levels: codewords per code.
        codewords: per level; a level has fewer where fewer distinct residuals are left.
        seed: of the k-means starts.

    Returns:
        I codes of `levels` codewords below `codewords`, or of one more, which may be any number.
    """
    quantised, _ = residual_kmeans(vectors, levels, codewords, seed)
    codes = quantised.tolist()
    sharing = Counter(map(tuple, codes))
    numbered: Counter[tuple[int, ...]] = Counter()
    for code in codes:
        shared = tuple(code)
        if sharing[shared] > 1:
            code.append(numbered[shared])
            numbered[shared] += 1
    return codes


def residual_kmeans(vectors: np.ndarray, levels: int, codewords: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Quantise vectors level by level: each level clusters what the centroids before have left over.

    Returns:
        (I, levels) int64 codewords, and each level's centroids, (C, D) float64 with C <= codewords.
    """
    residuals = np.round(np.asarray(vectors, dtype=np.float64), DECIMALS)
    codes = np.empty((len(residuals), levels), dtype=np.int64)
    books: list[np.ndarray] = []
    for level in range(levels):
        clusters = min(codewords, len(np.unique(residuals, axis=0)))
        kmeans = KMeans(clusters, n_init=4, random_state=seed + level).fit(residuals)
        codes[:, level] = kmeans.labels_
        books.append(kmeans.cluster_centers_)
        residuals = np.round(residuals - kmeans.cluster_centers_[kmeans.labels_], DECIMALS)
    return codes, books
