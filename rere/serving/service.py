"""The service behind HTTP: requests, changes of the catalogue, and changes of the model.

Everything here runs on one event loop; the model runs on the engine's thread, and what takes long (loading a model,
building a trie) on others. A change is put in place by the loop, so it falls between two answers, never within one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rere.context import longest_possible, require_room
from rere.data.titles import require_plain
from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.serving.deployment import Deployment, Job, Ranked
from rere.serving.engine import Engine, Waker
from rere.serving.live import CatalogEdits, Snapshot
from rere.serving.metrics import Metrics

Seen = Literal["include", "exclude"]


class DeadlinePassed(Exception):
    """The answer would have come too late."""


@dataclass(frozen=True)
class Recommendation:
    """version: of the model; unknown: (entry, reason) of what the request named and the catalogue lacks."""

    version: str
    ranked: Ranked
    unknown: list[tuple[str, str]]


class RecommendationService:
    """Answers from the present deployment.

    Args:
        edits_file: where changes of the catalogue are kept, so that they outlive the process; None: nowhere.
    """

    def __init__(self, deployment: Deployment, config: ServingConfig, edits_file: Path | None = None) -> None:
        self.config, self.metrics, self.edits_file = config, Metrics(), edits_file
        self.engine = Engine(config, self.metrics)
        self.edits = CatalogEdits() if edits_file is None else CatalogEdits.load(edits_file)
        deployment.snapshot = self.edits.apply(deployment.snapshot)
        self.deployment = deployment
        self._changing = asyncio.Lock()
        self._waker = Waker()
        self._answers: OrderedDict[tuple[object, ...], Ranked] = OrderedDict()  # of one snapshot
        self._answers_of = deployment.snapshot
        self.metrics.serving(deployment)

    async def recommend(
        self, history: Sequence[str], k: int, exclude: Sequence[str], seen: Seen, seconds: float | None = None
    ) -> Recommendation:
        """The k best items after `history` (ids or titles, oldest first).

        Args:
            seconds: the answer is wanted in; never more than the service's own deadline.

        Raises:
            RereError: the history names no known item, or is too long for the model's context.
            QueueFull, EngineStopped, DeadlinePassed
        """
        deadline = time.monotonic() + min(seconds or self.config.deadline_seconds, self.config.deadline_seconds)
        while True:
            deployment = self.deployment
            snapshot = deployment.snapshot
            read, unknown = snapshot.lookup.known(history)
            barred, unknown_too = snapshot.lookup.known(exclude)
            if not read:
                raise RereError(
                    "a history with at least one item of the catalogue",
                    f"{len(history)} entries, none of them an item's id or exact title",
                    "GET /items?query=... finds items",
                )
            excluded = frozenset(barred).union(read if seen == "exclude" else ())
            job = Job(deployment, tuple(read[-deployment.history_items :]), k, excluded, deadline)
            deployment.require_room(job.history)
            ranked = await self._search_once(job, snapshot)
            # An item removed while the search ran must not be in an answer given after its removal.
            if self.deployment is not deployment or not _any_removed(ranked, deployment.snapshot):
                return Recommendation(deployment.version, self._offered(ranked), unknown + unknown_too)

    async def _search_once(self, job: Job, snapshot: Snapshot) -> Ranked:
        """Search, unless the same was searched for in the same snapshot."""
        if self._answers_of is not snapshot:
            self._answers.clear()
            self._answers_of = snapshot
        key = (job.history, job.k, job.excluded)
        if key in self._answers:
            self._answers.move_to_end(key)
            self.metrics.answers.inc()
            return self._answers[key]
        ranked = await self._wait(job)
        if ranked.snapshot is self._answers_of and self.config.cached_answers:
            self._answers[key] = ranked
            if len(self._answers) > self.config.cached_answers:
                self._answers.popitem(last=False)
        return ranked

    async def _wait(self, job: Job) -> Ranked:
        answered = asyncio.Event()
        loop = asyncio.get_running_loop()
        job.future.add_done_callback(lambda _: self._waker.wake(answered, loop))
        self.engine.submit(job)
        try:
            async with asyncio.timeout(max(0.0, job.deadline - time.monotonic())):
                await answered.wait()
            return job.future.result()
        except TimeoutError:
            raise DeadlinePassed from None
        finally:
            job.abandoned = True

    def _offered(self, ranked: Ranked) -> Ranked:
        """Without what was removed since, for an answer from a model that has just been replaced."""
        ids, barred = ranked.snapshot.ids, self.edits.removed
        kept = [
            (item, score) for item, score in zip(ranked.items, ranked.scores, strict=True) if ids[item] not in barred
        ]
        return Ranked([item for item, _ in kept], [score for _, score in kept], ranked.snapshot)

    def find(self, query: str, limit: int) -> list[tuple[str, str]]:
        """(id, title) of offered items whose title contains `query`."""
        snapshot, found = self.deployment.snapshot, []
        for index in snapshot.search.find(query):
            if index not in snapshot.removed:
                found.append((snapshot.ids[index], snapshot.titles[index]))
                if len(found) == limit:
                    break
        return found

    async def swap(self, deployment: Deployment) -> None:
        """Put another model in place; requests under way finish on the one they began with."""
        async with self._changing:
            deployment.snapshot = await asyncio.to_thread(self.edits.apply, deployment.snapshot)
            self.deployment = deployment
            self.metrics.serving(deployment)

    async def add(self, items: Mapping[str, str]) -> int:
        """Offer items (id -> title): new ones, or removed ones again. Returns how many were new to the catalogue.

        Raises:
            RereError: an id with another title than the catalogue's, one that ingest would refuse or change, or a title
                so long that histories might no longer fit into the model's context; see also `extend_index`.
        """
        async with self._changing:
            snapshot = self.deployment.snapshot
            known = {item: index for item in items if (index := snapshot.lookup.index_of(item)) is not None}
            for item, index in known.items():
                if snapshot.titles[index] != items[item]:
                    raise RereError(
                        f"the title that item {item} has in the catalogue, {snapshot.titles[index]!r}",
                        repr(items[item]),
                        "give a new item an id of its own",
                    )
            added = {item: title for item, title in items.items() if item not in known}
            require_plain(added)
            edits = CatalogEdits({**self.edits.added, **added}, self.edits.removed - items.keys())
            await self._put(edits)
            return len(added)

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """Never recommend these items again. Returns those that the present catalogue doesn't have.

        They are remembered, too: a model that knows them may come.
        """
        async with self._changing:
            await self._put(replace(self.edits, removed=self.edits.removed.union(ids)))
            return [item for item in ids if self.deployment.snapshot.lookup.index_of(item) is None]

    async def restore(self, ids: Sequence[str]) -> list[str]:
        """Recommend removed items again. Returns those that weren't removed."""
        async with self._changing:
            not_removed = [item for item in ids if item not in self.edits.removed]
            await self._put(replace(self.edits, removed=self.edits.removed.difference(ids)))
            return not_removed

    async def _put(self, edits: CatalogEdits) -> None:
        """Build what `edits` say, store them, and only then let the requests see them."""
        deployment = self.deployment

        def build() -> Snapshot:
            snapshot = edits.apply(deployment.snapshot)
            catalog = snapshot.catalog
            if catalog.trie.max_length > deployment.snapshot.catalog.trie.max_length:
                longest = longest_possible(catalog, deployment.history_items)
                require_room(deployment.model.context, longest, "shorten the new titles")
            if self.edits_file is not None:
                edits.save(self.edits_file)
            return snapshot

        deployment.snapshot = await asyncio.to_thread(build)
        self.edits = edits
        self.metrics.serving(deployment)


def _any_removed(ranked: Ranked, now: Snapshot) -> bool:
    return ranked.snapshot is not now and not now.removed.isdisjoint(ranked.items)
