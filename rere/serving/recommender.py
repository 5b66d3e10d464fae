"""A trained model and its catalogue as a `Recommender`: the same code for evaluation, RL validation and serving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from rere.catalog.index import CatalogIndex
from rere.config import Normalisation
from rere.decoding.beam import beam_search
from rere.decoding.tree_attention import TreeModel
from rere.evaluation.recommender import Ranking
from rere.language_model import Checkpoint


class GenerativeRecommender:
    """Ranks the catalogue by constrained beam search.

    Args:
        name: how results are labelled.
        model: a checkpoint directory, or a model at hand.
        beams: width of the search; at least the list length asked for is always used.
        batch_prompts: prompts a forward.
    """

    def __init__(
        self,
        name: str,
        model: Path | TreeModel,
        catalog: CatalogIndex,
        beams: int = 20,
        normalisation: Normalisation = "vocab",
        batch_prompts: int = 64,
    ) -> None:
        self.name, self.catalog, self.beams = name, catalog, beams
        self.normalisation, self.batch_prompts = normalisation, batch_prompts
        self.model = model if isinstance(model, TreeModel) else TreeModel(Checkpoint(model).load_model())
        self.trie = catalog.trie.to(self.model.device)

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """The k best items of each history (item indices, oldest first): see `Recommender`."""
        prompts = [self.catalog.prompt(history) for history in histories]
        width = max(k, self.beams)

        def search(places: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            own = [prompts[place] for place in places]
            found = beam_search(self.model, self.trie, own, width, self.normalisation)
            return found.items, found.scores

        return rank_in_batches(f"{self.name}: beam search", prompts, k, self.batch_prompts, search)


def rank_in_batches(
    name: str,
    prompts: Sequence[Sequence[int]],
    k: int,
    batch_prompts: int,
    search: Callable[[list[int]], tuple[torch.Tensor, torch.Tensor]],
) -> Ranking:
    """Rank prompts in batches of like length; the result is in the order given.

    Args:
        name: what the progress bar says.
        search: places in `prompts` -> their items and scores (P, K), best first, K at least k.
    """
    items = np.full((len(prompts), k), -1, dtype=np.int64)
    scores = np.full((len(prompts), k), -np.inf, dtype=np.float32)
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    batches = range(0, len(order), batch_prompts)
    for start in tqdm(batches, desc=name, unit="batch", leave=False, disable=len(batches) < 4):
        places = order[start : start + batch_prompts]
        found, score = search(places)
        items[places] = found[:, :k].cpu().numpy()
        scores[places] = score[:, :k].to(torch.float32).cpu().numpy()
    return Ranking(items, scores)
