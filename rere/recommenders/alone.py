"""An item model as it is served alone: what its `Prior` makes of it, new items' exposure included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rere.recommenders.base import Ranking
from rere.recommenders.prior import Prior
from rere.recommenders.rankings import rank_by


class ItemModelAlone:
    """A `Recommender`.

    Args:
        items: size of the catalogue.

    Raises:
        RereError: a prior of another catalogue.
    """

    def __init__(self, name: str, prior: Prior, items: int) -> None:
        prior.require_fits(items)
        self.name, self.prior, self.items = name, prior, items

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """See `Recommender`; scores are log-probabilities (nats)."""
        return rank_by(self._log_probs, histories, k, self.items)

    def _log_probs(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        return np.asarray(self.prior.log_probs(histories, self.items))
