"""A generative model while it is served: constrained beam search, with the blend's item model where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import SearchSettings
from rere.decoding.beam import BeamSearch
from rere.decoding.boost import Boost
from rere.decoding.exclusion import Exclusions
from rere.models.context import REMEDY, longest_possible, require_room
from rere.models.item_tokens import embed_items
from rere.models.prefix_cache import PrefixCache
from rere.models.tree_attention import TreeModel
from rere.recommenders.prior import Prior
from rere.serving.engine.deployment import Deployment, Query, Ranked
from rere.serving.live_catalog import CatalogEdits, Snapshot


class GenerativeDeployment(Deployment):
    """See `Deployment`; `search.beams` is the least width of a search.

    The model is the deployment's own: a boost and items that are added change its embedding.
    """

    def __init__(
        self,
        version: str,
        model: TreeModel,
        catalog: CatalogIndex,
        history_items: int,
        search: SearchSettings,
        *,
        prior: Prior | None = None,
    ) -> None:
        super().__init__(version, catalog, history_items, prior=prior, device=model.device)
        self.model, self.search = model, search
        self.vocabulary = catalog.vocabulary  # of what the model was trained on
        self._boost: tuple[Snapshot, Boost | None] | None = None  # of a snapshot
        if prior is not None:
            prior.read_titles(model.base, catalog)
        self.prefixes = PrefixCache(search.prefix_tokens) if search.prefix_tokens else None

    def width(self, query: Query) -> int:
        """Beams. Only queries of one width are searched together, so that no list depends on its neighbours."""
        return max(query.k, self.search.beams)

    @torch.no_grad()
    def _search(
        self, queries: Sequence[Query], snapshot: Snapshot, unwanted: Callable[[], bool]
    ) -> list[Ranked] | None:
        prompts = [snapshot.prompt(query.history) for query in queries]
        exclusions = None
        if len(snapshot.gone) or any(query.excluded for query in queries):
            exclusions = Exclusions.of(snapshot.trie, snapshot.gone, [query.excluded for query in queries])
        item_prior = None
        if self.prior is not None:
            item_prior = self.prior.in_search(snapshot.trie, [query.history for query in queries])
        search = BeamSearch(
            self.model,
            snapshot.trie,
            prompts,
            self.search.model_copy(update={"beams": self.width(queries[0])}),
            item_prior=item_prior,
            boost=self._boost_in(snapshot),
            exclusions=exclusions,
            prefixes=self.prefixes,
        )
        while search.step():
            if unwanted():
                return None
        found = search.result()
        lists = []
        for query, items, scores in zip(queries, found.items.tolist(), found.scores.tolist(), strict=True):
            count = sum(item >= 0 for item in items[: query.k])
            lists.append(Ranked(items[:count], scores[:count], snapshot))
        return lists

    def _boost_in(self, snapshot: Snapshot) -> Boost | None:
        if self.prior is None:
            return None
        if self._boost is None or self._boost[0].trie is not snapshot.trie:
            self._boost = snapshot, self.prior.boost_in(snapshot.trie)
        return self._boost[1]

    def edited(self, edits: CatalogEdits) -> Snapshot:
        """The catalogue with these changes. Added items that the model can't take are `skipped`, with the reason: their
        codes can't be made, or are so long that histories might no longer fit into its context."""

        def check(more: Snapshot) -> None:
            if more.trie.max_length > self.snapshot.trie.max_length:
                longest = longest_possible(more.catalog, self.history_items)
                require_room(self.model.context, longest, "shorten the new titles")

        snapshot = edits.apply(self.snapshot, check)
        if snapshot.catalog.vocabulary > self.vocabulary:
            embed_items(self.model.base, snapshot.catalog, first=self.vocabulary)
        return snapshot

    def require_room(self, history: Sequence[int]) -> None:
        """Raises RereError where the prompt of a history, with an item after it, is longer than the model's context."""
        tokens = self.snapshot.prompt_tokens(history) + self.snapshot.catalog.trie.max_length
        require_room(self.model.context, tokens, f"name fewer items, or train with {REMEDY}")
