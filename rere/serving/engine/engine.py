"""Dynamic batching: whatever waits is searched together as soon as the model is free.

One thread runs the model. It never waits for a batch to fill: a request alone starts at once, and those that come
meanwhile make up the next batch. A request whose caller has gone, or whose deadline has passed, leaves the queue
unsearched; a batch that nobody waits for any more is given up between two steps.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Deployment, Query, Ranked
from rere.serving.http.metrics import Metrics

logger = logging.getLogger(__name__)


class QueueFull(Exception):
    """The queue is full."""


class EngineStopped(Exception):
    """The service is shutting down."""


@dataclass(eq=False)
class Job:
    """A query on its way: to which model, until when.

    deadline: of `time.monotonic`; abandoned: nobody waits for it any more
    """

    deployment: Deployment
    query: Query
    deadline: float
    future: Future[Ranked] = field(default_factory=Future)
    abandoned: bool = False

    @property
    def dead(self) -> bool:
        return self.abandoned or time.monotonic() > self.deadline

    @property
    def width(self) -> int:
        return self.deployment.width(self.query)


class Engine:
    """A bounded queue and the thread that empties it."""

    def __init__(self, config: ServingConfig, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rere-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, finish those that wait, end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def ready(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def submit(self, job: Job) -> None:
        """Queue a job; its future gets the result.

        Raises:
            QueueFull: `queue_requests` wait already.
            EngineStopped: the service is stopping.
        """
        with self._changed:
            if not self.ready:
                raise EngineStopped
            if len(self._queue) >= self.config.queue_requests:
                raise QueueFull
            self._queue.append(job)
            self.metrics.queue.set(len(self._queue))
            self._changed.notify()

    def _run(self) -> None:
        while batch := self._take():
            self._serve(batch)

    def _take(self) -> list[Job]:
        """The next batch, as soon as there is one: jobs of one model and width, oldest first. Empty: the end."""
        batch: list[Job] = []
        with self._changed:
            while not batch:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                if not self._queue:
                    return []
                waiting: deque[Job] = deque()
                tokens = 0
                for job in self._queue:
                    if job.dead:
                        continue
                    # Histories are counted as if every item were as long as the longest: a bound, without encoding.
                    size = len(job.query.history) * job.deployment.snapshot.catalog.trie.max_length
                    fits = not batch or (
                        len(batch) < self.config.batch_requests
                        and tokens + size <= self.config.batch_tokens
                        and (job.deployment, job.width) == (batch[0].deployment, batch[0].width)
                    )
                    if not fits:
                        waiting.append(job)
                    elif job.future.set_running_or_notify_cancel():
                        batch.append(job)
                        tokens += size
                self._queue = waiting
                self.metrics.queue.set(len(waiting))
        return batch

    def _serve(self, batch: Sequence[Job]) -> None:
        started = time.monotonic()
        try:
            queries = [job.query for job in batch]
            lists = batch[0].deployment.rank(queries, lambda: all(job.dead for job in batch))
        except Exception as error:
            if len(batch) > 1:  # one bad request must not spoil its neighbours
                logger.exception("A batch of %d failed; its requests are tried one by one", len(batch))
                for job in batch:
                    self._serve([job])
            else:
                batch[0].future.set_exception(error)
            return
        self.metrics.batch(len(batch), time.monotonic() - started, batch[0].deployment)
        if lists is not None:
            for job, ranked in zip(batch, lists, strict=True):
                job.future.set_result(ranked)


class Waker:
    """Wakes those that wait on the event loop, from the engine's thread: one call per batch.

    A call for each answer would wake the loop, and make the two threads contend for the interpreter, as often.
    """

    def __init__(self) -> None:
        self._answered: deque[asyncio.Event] = deque()
        self._called = False

    def wake(self, answered: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self._answered.append(answered)
        if not self._called:
            self._called = True
            loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        self._called = False  # first: what comes from now on calls again
        while self._answered:
            self._answered.popleft().set()
