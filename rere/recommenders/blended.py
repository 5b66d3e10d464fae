"""A generative model in whose searches an item model takes part, and how large a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rere.catalog.index import CatalogIndex
from rere.config.decoding import Normalisation
from rere.decoding.item_prior import ItemPrior
from rere.evaluation.metrics import ndcg, target_ranks
from rere.models.tree_attention import TreeModel
from rere.recommenders.generative import GenerativeRecommender, Work
from rere.recommenders.prior import Prior

SHARES = tuple(tenth / 10 for tenth in range(10))


class BlendedRecommender(GenerativeRecommender):
    """As it is served: see `GenerativeRecommender`, and `Prior` for the item model's part."""

    def __init__(
        self,
        name: str,
        model: Path | TreeModel,
        catalog: CatalogIndex,
        beams: int = 20,
        normalisation: Normalisation = "vocab",
        *,
        prior: Prior,
        batch_prompts: int = 64,
        work: Work = "alone",
    ) -> None:
        super().__init__(name, model, catalog, beams, normalisation, batch_prompts=batch_prompts, work=work)
        prior.require_fits(len(catalog.items))
        self.prior = prior

    def item_prior(self, histories: Sequence[Sequence[int]]) -> ItemPrior | None:
        """The item model's part."""
        return self.prior.in_search(self.trie, histories)

    def fitted(self, histories: Sequence[Sequence[int]], targets: np.ndarray) -> float:
        """The share of `SHARES` with the best NDCG@10 on these rows; of equal ones the smallest."""
        prior, found = self.prior, []
        for share in SHARES:
            self.prior = replace(prior, share=share)
            ranks = target_ranks(self.recommend(histories, 10).items, targets)
            found.append(float(ndcg(ranks, 10).mean()))
        self.prior = prior
        return SHARES[int(np.argmax(found))]
