"""An item model while it is served, alone: it scores all items, and needs no language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rere.catalog.index import CatalogIndex
from rere.recommenders.prior import Prior
from rere.recommenders.rankings import top_items
from rere.serving.engine.deployment import Basis, Deployment, Query, Ranked
from rere.serving.live_catalog import Snapshot

QUERIES_AT_ONCE = 64  # bounds the (P, I) log-probabilities


class ItemModelDeployment(Deployment):
    """See `Deployment`. Added items rank by their exposure, see `Prior`: the model reads no titles."""

    def __init__(self, version: str, catalog: CatalogIndex, history_items: int, *, prior: Prior) -> None:
        super().__init__(version, catalog, history_items, prior=prior)

    def _search(
        self, queries: Sequence[Query], snapshot: Snapshot, unwanted: Callable[[], bool]
    ) -> list[Ranked] | None:
        ranked: list[Ranked] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            if unwanted():
                return None
            ranked += self._ranked(queries[start : start + QUERIES_AT_ONCE], snapshot)
        return ranked

    def _ranked(self, queries: Sequence[Query], snapshot: Snapshot) -> list[Ranked]:
        assert self.prior is not None  # what it is made with
        scores = self.prior.log_probs([query.history for query in queries], len(snapshot.ids)).numpy()
        scores[:, list(snapshot.removed)] = -np.inf
        for row, query in enumerate(queries):
            scores[row, list(query.excluded)] = -np.inf
        top = top_items(scores, min(max(query.k for query in queries), len(snapshot.ids)))
        found = np.take_along_axis(scores, top, axis=1)
        lists = []
        for query, items, values in zip(queries, top.tolist(), found.tolist(), strict=True):
            count = int(np.isfinite(values[: query.k]).sum())
            known = any(item < len(self.prior.counts) for item in query.history)
            basis: Basis = "history" if known else "popularity"
            lists.append(Ranked(items[:count], values[:count], snapshot, basis))
        return lists

    def require_room(self, history: Sequence[int]) -> None:
        """No history is too long."""
