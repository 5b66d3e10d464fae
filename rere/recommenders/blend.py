"""How large an item model's part in a generative model's searches should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rere.evaluation.metrics import ndcg, target_ranks
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.prior import Prior

SHARES = tuple(tenth / 10 for tenth in range(10))


def fitted_share(
    recommender: GenerativeRecommender, prior: Prior, histories: Sequence[Sequence[int]], targets: np.ndarray
) -> float:
    """The share of `SHARES` with the best NDCG@10 on these rows; of equal ones the smallest.

    Args:
        targets: (R,) the item that follows each history.
    """
    found = []
    for share in SHARES:
        blended = recommender.with_prior(replace(prior, share=share))
        ranks = target_ranks(blended.recommend(histories, 10).items, targets)
        found.append(float(ndcg(ranks, 10).mean()))
    return SHARES[int(np.argmax(found))]
