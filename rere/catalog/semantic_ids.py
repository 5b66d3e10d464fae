"""Semantic IDs: items as a few codewords, near items with the same first ones (TIGER, arXiv 2305.05065).

TIGER learns the codewords with a residual-quantised autoencoder (rere/catalog/rq_vae.py); by default they are residual
k-means centroids of the item vectors, which needs no training of a network and has no codeword that nothing uses.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from rere.catalog.residual_kmeans import residual_kmeans
from rere.catalog.rq_vae import rq_vae
from rere.config.catalog import RQVAE, Quantiser, ResidualKMeans

K_MEANS = ResidualKMeans()


def semantic_codes(
    vectors: np.ndarray, levels: int, codewords: int, seed: int, quantiser: Quantiser = K_MEANS
) -> list[list[int]]:
    """Distinct codes, of which none begins another.

    Items that share all `levels` codewords get one more, which numbers them in the order of the rows.

    Args:
        vectors: (I, D) float, at least one row.
        levels: codewords per code.
        codewords: per level; a level has fewer where fewer distinct residuals are left.
        seed: of the k-means starts, or of the autoencoder.

    Returns:
        I codes of `levels` codewords below `codewords`, or of one more, which may be any number.
    """
    if isinstance(quantiser, RQVAE):
        quantised = rq_vae(vectors, levels, codewords, quantiser, seed)
    else:
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
