"""The ablation's recommender: a model that generates without the constraint, evaluated like the others.

Its lists differ from others' in two ways: an entry may be -1 with a finite score (the model generated a sequence that
is no item), and with draws an item may be repeated. Evaluation reports how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import Beam, Multinomial
from rere.decoding.unconstrained import generate_freely, item_end
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.recommenders.base import Ranking
from rere.recommenders.generative import rank_in_batches


class UnconstrainedRecommender:
    """Ranks the sequences that the model generates without the constraint by their log-probability.

    Args:
        name: how results are labelled.
        model: a checkpoint directory, or a loaded model.
        beams: candidates per prompt; at least the length of the requested list is always generated.
        sampling: beam search, or independent draws (seeded).
        batch_prompts: prompts per forward; stock `generate` repeats each for every candidate.

    Raises:
        RereError: the catalogue's items have no end token.
    """

    def __init__(
        self,
        name: str,
        model: Path | TreeModel,
        catalog: CatalogIndex,
        beams: int = 20,
        sampling: Beam | Multinomial | None = None,
        *,
        batch_prompts: int = 16,
        seed: int = 0,
    ) -> None:
        self.end = item_end(catalog)
        self.name, self.catalog, self.beams, self.seed = name, catalog, beams, seed
        self.sampling, self.batch_prompts = sampling or Beam(), batch_prompts
        self.model = model if isinstance(model, TreeModel) else TreeModel(Checkpoint(model).load_model())
        self.trie = catalog.trie.to(self.model.device)

    @torch.no_grad()
    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """The k most likely sequences as items, -1 for those that are no item; scores fall along a row."""
        prompts = [self.catalog.prompt(history) for history in histories]
        scorer, group = TreeLogProbs(self.model), max(k, self.beams)

        def search(batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            own, seed = [prompts[row] for row in batch], self.seed * 1_000_003 + batch[0]
            found = generate_freely(self.model, self.trie, self.end, own, group, sampling=self.sampling, seed=seed)
            tree = group_tree(found.trie, own, found.candidates, "vocab", self.model.dtype)
            scores, order = scorer(tree).sum(2).sort(dim=1, descending=True, stable=True)
            return found.items.gather(1, order), scores

        return rank_in_batches(f"{self.name}: free generation", prompts, k, self.batch_prompts, search)
