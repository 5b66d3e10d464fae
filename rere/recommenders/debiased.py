"""Debiased decoding after D3: the language model ranks together with a model that reads no text.

Bao et al., "Decoding Matters: Addressing Amplification Bias and Homogeneity Issue for LLM-based Recommendation"
(D3), arXiv 2406.14900: long items with near-certain tokens gain from length normalisation, and lists grow alike. D3's
two remedies: no length normalisation (scores here are plain sums, so there is none) and an assistant's probabilities
at every step of the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rere.decoding.beam import beam_search
from rere.decoding.item_prior import ItemPrior, node_log_mass
from rere.errors import RereError
from rere.recommenders.base import Ranking, Recommender
from rere.recommenders.generative import GenerativeRecommender, rank_in_batches
from rere.recommenders.item_model import item_log_probs


class DebiasedRecommender:
    """Ranks by (1 - weight) · log p of the language model + weight · log p of the assistant, at every search step.

    Args:
        generative: its model, catalogue, width and normalisation are used.
        assistant: ranks the same catalogue; its scores count as log-probabilities up to a constant per row, as those of
            SASRec are. Items that it leaves out have probability 0, and are not recommended.
        weight: the assistant's share, from 0 (plain beam search) to 1.

    Raises:
        RereError: a weight out of range.
    """

    def __init__(self, generative: GenerativeRecommender, assistant: Recommender, weight: float) -> None:
        if not 0 <= weight <= 1:
            raise RereError("an assistant's weight from 0 to 1", str(weight), "correct the weight")
        self.generative, self.assistant, self.weight = generative, assistant, weight
        self.name = f"{generative.name} + {assistant.name}"

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """The k best items of each history: see `Recommender`.

        Raises:
            RereError: an assistant without a finite score, or with items that the catalogue lacks.
        """
        if self.weight == 0:
            return self.generative.recommend(histories, k)
        model, trie = self.generative.model, self.generative.trie
        prompts = [self.generative.catalog.prompt(history) for history in histories]
        settings = self.generative.search_settings(k)

        def search(batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            log_probs = item_log_probs(self.assistant, [histories[row] for row in batch], trie.items)
            item_prior = ItemPrior(node_log_mass(trie, log_probs.to(model.device)), self.weight)
            own = [prompts[row] for row in batch]
            found = beam_search(model, trie, own, settings, item_prior=item_prior)
            return found.items, found.scores

        return rank_in_batches(f"{self.name}: beam search", prompts, k, self.generative.batch_prompts, search)
