"""The service behind HTTP: requests, changes of the catalogue, and changes of the model.

Everything here runs on one event loop; the model runs on the engine's thread, and what takes long (loading a model,
building a trie) on others. A change is put in place by the loop, so it falls between two answers, never within one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rere.data.titles import require_plain
from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.serving.edits_log import Change, EditsLog
from rere.serving.engine.deployment import Deployment, Query, Ranked
from rere.serving.engine.engine import Engine, Job, Waker
from rere.serving.http.metrics import Metrics
from rere.serving.item_resolver import Unknown
from rere.serving.live_catalog import Snapshot

logger = logging.getLogger(__name__)
Seen = Literal["include", "exclude"]


class DeadlinePassed(Exception):
    """The answer would have come too late."""


class Conflict(RereError):
    """A request that makes sense in itself, but not with the catalogue or the model at hand."""


class NothingKnown(RereError):
    """A history of which the catalogue has no item."""


@dataclass(frozen=True)
class Recommendation:
    """version: of the model; unknown: what the request named and the catalogue lacks."""

    version: str
    ranked: Ranked
    unknown: list[Unknown]


@dataclass(frozen=True)
class CatalogChange:
    """What became of a change of the catalogue.

    new: items that the catalogue did not have; not_there: ids that the change didn't concern
    problem: why the change, which is in effect, isn't on disk yet and won't survive a restart; "" when it is
    """

    new: int = 0
    not_there: tuple[str, ...] = ()
    problem: str = ""


class RecommendationService:
    """Answers from the present deployment.

    Args:
        edits_file: the log of changes of the catalogue, which outlives the process and which services share; None:
            changes are kept in memory.

    Raises:
        RereError: the log can't be read.
    """

    def __init__(self, deployment: Deployment, config: ServingConfig, edits_file: Path | None = None) -> None:
        self.config, self.metrics = config, Metrics()
        self.engine = Engine(config, self.metrics)
        self.log = EditsLog(edits_file)
        self.log.refresh()
        self.edits = self.log.edits
        if edits_file is not None:
            counts = len(self.edits.added), len(self.edits.removed)
            logger.info("%s: %d items added to the catalogue, %d removed", edits_file.resolve(), *counts)
        deployment.snapshot = deployment.edited(self.edits)
        self.deployment = deployment
        self._changing = asyncio.Lock()
        self._waker = Waker()
        self._answers: OrderedDict[Query, Ranked] = OrderedDict()  # of one snapshot
        self._answers_of = deployment.snapshot
        self._skipped = 0  # added items that were last said to be left out
        self._tell(deployment)

    async def recommend(
        self, history: Sequence[str], k: int, exclude: Sequence[str], seen: Seen, seconds: float | None = None
    ) -> Recommendation:
        """The k best items after `history` (ids or titles, oldest first).

        Args:
            seconds: the answer is wanted in; never more than the service's own deadline.

        Raises:
            NothingKnown: the history names no known item, and the model has no answer for that.
            Conflict: it is too long for the model's context.
            QueueFull: as many requests wait as may.
            EngineStopped: the service is stopping.
            DeadlinePassed: there was no answer in time.
        """
        deadline = time.monotonic() + min(seconds or self.config.deadline_seconds, self.config.deadline_seconds)
        while True:
            deployment = self.deployment
            snapshot = deployment.snapshot
            read, barred = snapshot.lookup.resolve(history), snapshot.lookup.resolve(exclude)
            with _raised_as(NothingKnown):
                deployment.require_answerable(read)
            excluded = frozenset(barred.items).union(read.items if seen == "exclude" else ())
            job = Job(deployment, deployment.query(read.items, k, excluded), deadline)
            with _raised_as(Conflict):
                deployment.require_room(job.query.history)
            ranked = await self._search_once(job, snapshot)
            # An item removed while the search ran must not be in an answer given after its removal.
            if self.deployment is not deployment or not _any_removed(ranked, deployment.snapshot):
                unknown = read.unknown + barred.unknown
                self.metrics.unknown.inc(len(unknown))
                self.metrics.based_on.labels(ranked.based_on).inc()
                return Recommendation(deployment.version, self._offered(ranked), unknown)

    async def _search_once(self, job: Job, snapshot: Snapshot) -> Ranked:
        """Search, unless the same was searched for in the same snapshot."""
        if self._answers_of is not snapshot:
            self._answers.clear()
            self._answers_of = snapshot
        key = job.query
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
        return replace(ranked, items=[item for item, _ in kept], scores=[score for _, score in kept])

    def find(self, query: str, limit: int) -> list[tuple[str, str]]:
        """(id, title) of offered items whose title contains `query`; without a query, of the catalogue's first."""
        snapshot, found = self.deployment.snapshot, []
        for index in snapshot.search.find(query) if query else range(len(snapshot.ids)):
            if index not in snapshot.removed:
                found.append((snapshot.ids[index], snapshot.titles[index]))
                if len(found) == limit:
                    break
        return found

    async def swap(self, deployment: Deployment) -> None:
        """Put another model in place; requests under way finish on the one they began with."""
        async with self._changing:
            deployment.snapshot = await asyncio.to_thread(deployment.edited, self.edits)
            self.deployment = deployment
            self._tell(deployment)

    async def add(self, items: Mapping[str, str]) -> CatalogChange:
        """Offer items (id -> title): new ones, or removed ones again.

        Raises:
            Conflict: an id with another title than the catalogue's, or an item that the model can't take (see
                `Deployment.edited`).
            RereError: an id or title that ingest would refuse or change.
        """

        def decide(snapshot: Snapshot) -> Change:
            known = {item: index for item in items if (index := snapshot.lookup.index_of(item)) is not None}
            for item, index in known.items():
                if snapshot.titles[index] != items[item]:
                    raise Conflict(
                        f"the title that item {item} has in the catalogue, {snapshot.titles[index]!r}",
                        repr(items[item]),
                        "give a new item an id of its own",
                    )
            added = {item: title for item, title in items.items() if item not in known}
            require_plain(added)
            return Change.now(added, restored=tuple(items))

        return await self._change(decide)

    async def remove(self, ids: Sequence[str]) -> CatalogChange:
        """Never recommend these items again; `not_there` are those that the present catalogue doesn't have.

        They are remembered, too: a model that knows them may come.
        """

        def decide(snapshot: Snapshot) -> Change:
            return Change.now(removed=ids)

        changed = await self._change(decide)
        lookup = self.deployment.snapshot.lookup
        return replace(changed, not_there=tuple(item for item in ids if lookup.index_of(item) is None))

    async def restore(self, ids: Sequence[str]) -> CatalogChange:
        """Recommend removed items again; `not_there` are those that weren't removed."""
        not_there: list[str] = []

        def decide(snapshot: Snapshot) -> Change:
            not_there.extend(item for item in ids if item not in self.log.edits.removed)
            return Change.now(restored=ids)

        return replace(await self._change(decide), not_there=tuple(not_there))

    async def keep_up(self) -> None:
        """Until cancelled: bring in what other services change, and write what couldn't be written before."""
        said = ""
        while True:
            await asyncio.sleep(self.config.poll_seconds)
            try:
                await self.catch_up()
                said = ""
            except RereError as error:
                if str(error) != said:
                    logger.error("Changes of the catalogue by other services aren't seen. %s", error)
                said = str(error)
            except Exception:  # whatever it was, the next look may succeed; without it removals would stay unseen
                logger.exception("Changes of the catalogue by other services weren't looked at")

    async def catch_up(self) -> None:
        """Bring in once what other services changed; RereError where their log can't be read."""
        async with self._changing:
            deployment = self.deployment

            def build() -> Snapshot:
                if self.log.problem and self.log.path is not None:
                    with self.log.alone():
                        self.log.append()
                self.log.refresh()
                return deployment.edited(self.log.edits)

            self._put(deployment, await asyncio.to_thread(build))

    async def _change(self, decide: Callable[[Snapshot], Change]) -> CatalogChange:
        """Decide on the catalogue as all services have changed it, write the change, and only then let requests see it.

        A change that can't be written takes effect all the same, and `problem` says so.
        """
        async with self._changing:
            deployment = self.deployment

            def build() -> tuple[Snapshot, int]:
                with self.log.alone():
                    before = deployment.edited(self.log.edits)
                    change = decide(before)
                    after = deployment.edited(change.after(self.log.edits))
                    for item in change.added:
                        if after.lookup.index_of(item) is None:
                            reason = next(why for (skipped, _), why in after.skipped.items() if skipped == item)
                            raise Conflict(*reason.parts)
                    self.log.append(change)
                    return after, len(change.added)

            snapshot, new = await asyncio.to_thread(build)
            self._put(deployment, snapshot)
            return CatalogChange(new=new, problem=self.log.problem)

    def _put(self, deployment: Deployment, snapshot: Snapshot) -> None:
        """Let requests see a changed catalogue."""
        self.edits = self.log.edits
        if snapshot is not deployment.snapshot:
            deployment.snapshot = snapshot
            self._tell(deployment)
        self.metrics.unwritten.set(bool(self.log.problem))

    def _tell(self, deployment: Deployment) -> None:
        """Say what is served now, and what of the changes it can't take."""
        skipped = deployment.snapshot.skipped
        if skipped and len(skipped) != self._skipped:
            (item, title), reason = next(iter(skipped.items()))
            logger.warning(
                "%d added items aren't offered, for version %s can't take them, such as %s (%r). %s",
                *(len(skipped), deployment.version, item, title, reason),
            )
        self._skipped = len(skipped)
        self.metrics.serving(deployment)


@contextmanager
def _raised_as(kind: type[RereError]) -> Iterator[None]:
    """Raise a RereError of the block as another kind, which says what became of the request."""
    try:
        yield
    except RereError as error:
        raise kind(*error.parts) from None


def _any_removed(ranked: Ranked, now: Snapshot) -> bool:
    return ranked.snapshot is not now and not now.removed.isdisjoint(ranked.items)
