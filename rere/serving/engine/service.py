"""Answers to requests: each is resolved against the catalogue, searched for by the engine, and offered.

Everything here runs on one event loop; the model runs on the engine's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.serving.engine.answer_cache import AnswerCache
from rere.serving.engine.deployment import Deployment, Ranked
from rere.serving.engine.engine import Engine, Job, Waker
from rere.serving.engine.live_deployment import Conflict, LiveDeployment
from rere.serving.http.metrics import Metrics
from rere.serving.item_resolver import Unknown
from rere.serving.live_catalog import Snapshot

Seen = Literal["include", "exclude"]


class DeadlinePassed(Exception):
    """The answer would have come too late."""


class NothingKnown(RereError):
    """A history of which the catalogue has no item."""


@dataclass(frozen=True)
class Recommendation:
    """version: of the model; unknown: what the request named and the catalogue lacks."""

    version: str
    ranked: Ranked
    unknown: list[Unknown]


class RecommendationService:
    """Answers from the present deployment.

    Args:
        edits_file: see `LiveDeployment`.

    Raises:
        RereError: the log can't be read.
    """

    def __init__(self, deployment: Deployment, config: ServingConfig, edits_file: Path | None = None) -> None:
        self.config, self.metrics = config, Metrics()
        self.engine = Engine(config, self.metrics)
        self.live = LiveDeployment(deployment, self.metrics, edits_file)
        self._waker = Waker()
        self._answers = AnswerCache(config.cached_answers)

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
            deployment = self.live.deployment
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
            if self.live.deployment is not deployment or not _any_removed(ranked, deployment.snapshot):
                unknown = read.unknown + barred.unknown
                self.metrics.unknown.inc(len(unknown))
                self.metrics.based_on.labels(ranked.based_on).inc()
                return Recommendation(deployment.version, self._offered(ranked), unknown)

    async def _search_once(self, job: Job, snapshot: Snapshot) -> Ranked:
        """Search, unless the same was searched for in the same snapshot."""
        known = self._answers.get(job.query, snapshot)
        if known is not None:
            self.metrics.answers.inc()
            return known
        ranked = await self._wait(job)
        self._answers.put(job.query, ranked)
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
        ids, barred = ranked.snapshot.ids, self.live.edits.removed
        kept = [
            (item, score) for item, score in zip(ranked.items, ranked.scores, strict=True) if ids[item] not in barred
        ]
        return replace(ranked, items=[item for item, _ in kept], scores=[score for _, score in kept])

    def find(self, query: str, limit: int) -> list[tuple[str, str]]:
        """(id, title) of offered items whose title contains `query`; without a query, of the catalogue's first."""
        snapshot, found = self.live.deployment.snapshot, []
        for index in snapshot.search.find(query) if query else range(len(snapshot.ids)):
            if index not in snapshot.removed:
                found.append((snapshot.ids[index], snapshot.titles[index]))
                if len(found) == limit:
                    break
        return found


@contextmanager
def _raised_as(kind: type[RereError]) -> Iterator[None]:
    """Raise a RereError of the block as another kind, which says what became of the request."""
    try:
        yield
    except RereError as error:
        raise kind(*error.parts) from None


def _any_removed(ranked: Ranked, now: Snapshot) -> bool:
    return ranked.snapshot is not now and not now.removed.isdisjoint(ranked.items)
