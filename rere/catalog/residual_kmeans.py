"""Codewords by residual k-means: each level clusters what the centroids before have left over."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

DECIMALS = 6  # of a residual: what is left below is rounding error, no reason to part two items


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
