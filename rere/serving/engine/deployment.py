"""A model version while it is served: its live catalogue, and a ranking for a batch of requests.

What ranks is the kind of model: see `generative.py` and `item_model.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from rere.catalog.index import CatalogIndex
from rere.models.prefix_cache import PrefixCache
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


class Deployment(ABC):
    """What is served.

    Args:
        version: how answers and metrics name it.
        history_items: most recent items of a history that count.
        prior: what is known of the catalogue's items; None, as for models of earlier releases: users of whom nothing is
            known are refused.
        device: where the catalogue's trie is wanted.

    Raises:
        RereError: a prior of another catalogue.

    Attributes:
        snapshot: the catalogue now; replaced whole, by one thread at a time.
        prefixes: what is kept of histories from request to request; None where nothing is.
    """

    prefixes: PrefixCache | None = None

    def __init__(
        self,
        version: str,
        catalog: CatalogIndex,
        history_items: int,
        *,
        prior: Prior | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.version, self.history_items = version, history_items
        if prior is not None:
            prior.require_fits(len(catalog.items))
        self.prior = prior
        self.snapshot = Snapshot.of(catalog, device)
        self._popular: tuple[Snapshot, list[int], list[float]] | None = None  # of a snapshot, the most popular first

    @property
    def answers_new_users(self) -> bool:
        """Whether users of whom nothing is known get an answer, by popularity."""
        return self.prior is not None and self.prior.config.cold_start != "refuse"

    @property
    def gives_probabilities(self) -> bool:
        """Whether a score is the logarithm of an item's probability among all items; else a weight that compares."""
        return self.prior is None or self.prior.alone or not self.prior.changes_searches

    def require_answerable(self, read: Resolved) -> None:
        """RereError for a history of which nothing is known, where such users are refused."""
        if not self.answers_new_users:
            read.require_any()

    def query(self, history: Sequence[int], k: int, excluded: frozenset[int] = frozenset()) -> Query:
        """A query of a whole history, of which the model reads the most recent items."""
        return Query(tuple(history[-self.history_items :]), k, excluded)

    def width(self, query: Query) -> int:
        """Only queries of one width are ranked together, so that no list depends on its neighbours."""
        return query.k

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

    @abstractmethod
    def _search(
        self, queries: Sequence[Query], snapshot: Snapshot, unwanted: Callable[[], bool]
    ) -> list[Ranked] | None:
        """`rank`, for histories that aren't empty."""

    def edited(self, edits: CatalogEdits) -> Snapshot:
        """The catalogue with these changes. Added items that the model can't take are `skipped`, with the reason."""
        return edits.apply(self.snapshot)

    @abstractmethod
    def require_room(self, history: Sequence[int]) -> None:
        """Raises RereError where a history is longer than the model can read."""

    def warm_up(self) -> None:
        """Answer one request, so that the first real one isn't slow; raises whatever is wrong with the model."""
        self.rank([Query((0,), 1)])
