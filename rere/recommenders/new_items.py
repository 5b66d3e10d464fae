"""How much a language model's opinion of items that nobody took yet should count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.prior import Prior
from rere.recommenders.rankings import mean_ndcg

BOOSTS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0)


def fitted_boost(
    recommender: GenerativeRecommender, prior: Prior, histories: Sequence[Sequence[int]], targets: np.ndarray
) -> float | None:
    """The factor of `BOOSTS` with the best NDCG@10 on these rows, of equal ones the smallest.

    Args:
        prior: the factor's companion in a search: an item model with its share, where one takes part.
        targets: (R,) the item that follows each history.

    Returns:
        None where no factor is better than the model as it is: so wherever no target is a new item.
    """
    if not prior.new_items(len(prior.counts)).numpy()[targets].any():
        return None
    kept: float | None = None
    best = mean_ndcg(recommender.with_prior(replace(prior, boost=None)), histories, targets)
    for boost in BOOSTS:
        score = mean_ndcg(recommender.with_prior(replace(prior, boost=boost)), histories, targets)
        if score > best:
            best, kept = score, boost
    return kept
