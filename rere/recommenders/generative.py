"""A trained model and its catalogue as a `Recommender`: the same code for evaluation, RL validation and serving."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import beam_search
from rere.decoding.boost import Boost
from rere.models.checkpoint import Checkpoint
from rere.models.item_tokens import sharing_weights
from rere.models.shared_prefill import SharedPrefill, by_length
from rere.models.tree_attention import TreeModel
from rere.recommenders.base import Ranking
from rere.runtime import distributed
from rere.runtime.progress import progress

if TYPE_CHECKING:
    from rere.recommenders.prior import Prior

Sharding = Literal["alone", "shared"]


class GenerativeRecommender:
    """Ranks the catalogue by constrained beam search.

    Args:
        name: how results are labelled.
        model: a checkpoint directory, or a loaded model.
        beams: width of the search; at least the length of the requested list is always used.
        batch_prompts: prompts per forward.
        sharding: `shared` among all processes, which then call with the same histories and get the whole result; or
            `alone`.
    """

    def __init__(
        self,
        name: str,
        model: Path | TreeModel,
        catalog: CatalogIndex,
        beams: int = 20,
        normalisation: Normalisation = "vocab",
        *,
        batch_prompts: int = 64,
        sharding: Sharding = "alone",
    ) -> None:
        self.sharding = sharding
        self.name, self.catalog, self.beams = name, catalog, beams
        self.normalisation, self.batch_prompts = normalisation, batch_prompts
        self.model = model if isinstance(model, TreeModel) else TreeModel(Checkpoint(model).load_model())
        self.trie = catalog.trie.to(self.model.device)
        self.prior: Prior | None = None
        self.boost: Boost | None = None

    def with_prior(self, prior: Prior) -> GenerativeRecommender:
        """The same as it is served: with an item model's part in every search, and with new items boosted.

        Where new items are boosted and have tokens of their own, it has an embedding of its own (`Prior.read_titles`);
        all other weights are shared with this one, which stays as it is.

        Raises:
            RereError: a prior of another catalogue.
        """
        prior.require_fits(len(self.catalog.items))
        served = copy.copy(self)
        if prior.boost is not None and self.catalog.config.code.one_token:
            served.model = TreeModel(sharing_weights(self.model.base))
            prior.read_titles(served.model.base, self.catalog)
        served.prior, served.boost = prior, prior.boost_in(self.trie)
        return served

    def search_settings(self, k: int) -> SearchSettings:
        """The settings of a search for the k best items."""
        return SearchSettings(beams=max(k, self.beams), normalisation=self.normalisation)

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        """The k best items of each history (item indices, oldest first): see `Recommender`."""
        prompts = [self.catalog.prompt(history) for history in histories]
        settings = self.search_settings(k)

        def search(batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            shared = SharedPrefill.of([prompts[row] for row in batch], self.model.device)
            item_prior = None
            if self.prior is not None:
                own = [histories[batch[position]] for position in shared.order.tolist()]
                item_prior = self.prior.in_search(self.trie, own)
            found = beam_search(
                self.model, self.trie, shared.prompts, settings, item_prior=item_prior, boost=self.boost
            )
            return shared.restored(found.items), shared.restored(found.scores)

        return rank_in_batches(
            f"{self.name}: beam search", prompts, k, self.batch_prompts, search, sharding=self.sharding
        )


def rank_in_batches(
    name: str,
    prompts: Sequence[Sequence[int]],
    k: int,
    batch_prompts: int,
    search: Callable[[list[int]], tuple[torch.Tensor, torch.Tensor]],
    *,
    sharding: Sharding = "alone",
) -> Ranking:
    """Rank prompts in batches of similar length; the result is in the order of `prompts`.

    Prompts that are prefixes of one another stand together.

    Args:
        name: of the progress bar.
        search: rows of `prompts` -> their items and scores (P, K), best first, K at least k.
        sharding: `shared`: each process searches some of the batches, which are those of a single process.
    """
    items = np.full((len(prompts), k), -1, dtype=np.int64)
    scores = np.full((len(prompts), k), -np.inf, dtype=np.float32)
    order = by_length(prompts)
    batches = range(0, len(order), batch_prompts)
    if sharding == "shared":
        batches = batches[distributed.rank() :: distributed.world()]  # in turn: long prompts cost more
    for start in progress(batches, desc=name, unit="batch", leave=False, disable=len(batches) < 4):
        batch = order[start : start + batch_prompts]
        found, score = search(batch)
        items[batch] = found[:, :k].cpu().numpy()
        scores[batch] = score[:, :k].to(torch.float32).cpu().numpy()
    if sharding == "shared":
        every = distributed.gathered(Ranking(items, scores))
        # Rows that another process searched are empty here: no items, and scores of -inf.
        items = np.maximum.reduce([own.items for own in every])
        scores = np.maximum.reduce([own.scores for own in every])
    return Ranking(items, scores)
