"""How large an item model's part in a generative model's searches should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.prior import Prior
from rere.recommenders.rankings import mean_ndcg

SHARES = tuple(tenth / 10 for tenth in range(10))


def fitted_share(
    recommender: GenerativeRecommender, prior: Prior, histories: Sequence[Sequence[int]], targets: np.ndarray
) -> float:
    """The share of `SHARES` with the best NDCG@10 on these rows; of equal ones the smallest.

    Args:
        targets: (R,) the item that follows each history.
    """
    found = [mean_ndcg(recommender.with_prior(replace(prior, share=share)), histories, targets) for share in SHARES]
    return SHARES[int(np.argmax(found))]
