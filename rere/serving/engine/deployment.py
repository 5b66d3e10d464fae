"""A model version while it is served: weights, live catalogue, and the search over a batch of requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from rere.catalog.index import CatalogIndex
from rere.config.decoding import InferencePrecision, SearchSettings
from rere.decoding.beam import BeamSearch
from rere.decoding.exclusion import Exclusions
from rere.models.checkpoint import Checkpoint
from rere.models.context import REMEDY, longest_possible, require_room
from rere.models.inference import for_inference
from rere.models.item_tokens import embed_items
from rere.models.prefix_cache import PrefixCache
from rere.models.tree_attention import TreeModel
from rere.recommenders.prior import Prior
from rere.serving.item_resolver import Resolved
from rere.serving.live_catalog import CatalogEdits, Snapshot

Basis = Literal["history", "popularity"]


@dataclass(frozen=True)
class Ranked:
    """items: indices into `snapshot`, best first; scores: their log-probabilities (nats).

    based_on: popularity where nothing is known of the user
    """

    items: list[int]
    scores: list[float]
    snapshot: Snapshot
    based_on: Basis = "history"


@dataclass(frozen=True)
class Query:
    """What is asked: the k best items after a history.

    history: item indices, oldest first, no more than the model reads; empty for a user of whom nothing is known
    excluded: item indices
    """

    history: tuple[int, ...]
    k: int
    excluded: frozenset[int] = frozenset()


class Deployment:
    """What is served.

    Args:
        version: how answers and metrics name it.
        history_items: most recent items of a history that the model reads.
        search: `beams` is the least width of a search.
        prior: what is known of the catalogue's items; None, as for models of earlier releases: users of whom nothing is
            known are refused.

    Raises:
        RereError: a prior of another catalogue.

    Attributes:
        snapshot: the catalogue now; replaced whole, by one thread at a time.
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
        self.version, self.model, self.history_items, self.search = version, model, history_items, search
        if prior is not None:
            prior.require_fits(len(catalog.items))
        self.prior = prior
        self.snapshot = Snapshot.of(catalog, model.device)
        self.vocabulary = catalog.vocabulary  # of what the model was trained on
        self.prefixes = PrefixCache(search.prefix_tokens) if search.prefix_tokens else None
        self._popular: tuple[Snapshot, list[int], list[float]] | None = None  # of a snapshot, the most popular first

    def require_answerable(self, read: Resolved) -> None:
        """RereError for a history of which nothing is known, where such users are refused."""
        if self.prior is None or self.prior.config.cold_start == "refuse":
            read.require_any()

    def query(self, history: Sequence[int], k: int, excluded: frozenset[int] = frozenset()) -> Query:
        """A query of a whole history, of which the model reads the most recent items."""
        return Query(tuple(history[-self.history_items :]), k, excluded)

    def width(self, query: Query) -> int:
        """Beams. Only queries of one width are searched together, so that no list depends on its neighbours."""
        return max(query.k, self.search.beams)

    def rank(self, queries: Sequence[Query], unwanted: Callable[[], bool] = lambda: False) -> list[Ranked] | None:
        """Rank for queries of one width together; None when `unwanted` says, between two steps, to give up."""
        snapshot = self.snapshot
        asked = [query for query in queries if query.history]
        found = self._search(asked, snapshot, unwanted) if asked else []
        if found is None:
            return None
        searched = iter(found)
        return [next(searched) if query.history else self._most_popular(query, snapshot) for query in queries]

    def _most_popular(self, query: Query, snapshot: Snapshot) -> Ranked:
        """What is offered, by popularity, equal items by index."""
        assert self.prior is not None  # `require_answerable` lets no such query pass
        if self._popular is None or self._popular[0] is not snapshot:
            log_probs, order = self.prior.popularity(len(snapshot.ids)).sort(descending=True, stable=True)
            self._popular = snapshot, order.tolist(), log_probs.tolist()
        _, order_of, scores_of = self._popular
        items, scores = list[int](), list[float]()
        for item, score in zip(order_of, scores_of, strict=True):
            if len(items) == query.k:
                break
            if item not in snapshot.removed and item not in query.excluded:
                items.append(item)
                scores.append(score)
        return Ranked(items, scores, snapshot, "popularity")

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

    def warm_up(self) -> None:
        """Answer one request, so that the first real one isn't slow; raises whatever is wrong with the model."""
        self.rank([Query((0,), 1)])


def load_deployment(
    version: str,
    checkpoint: Path,
    catalog: Path,
    history_items: int,
    search: SearchSettings,
    *,
    prior: Path | None = None,
    precision: InferencePrecision = "float32",
) -> Deployment:
    """Load a version's sealed directories and warm it up; raises RereError where they are altered or incomplete."""
    model = TreeModel(for_inference(Checkpoint(checkpoint).load_model(), precision))
    known = None if prior is None else Prior.load(prior)
    deployment = Deployment(version, model, CatalogIndex.load(catalog), history_items, search, prior=known)
    deployment.warm_up()
    return deployment
