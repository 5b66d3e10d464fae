"""The queue: what shares a batch, what is refused, what is given up. The model is a stand-in that can be held."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Query, Ranked
from rere.serving.engine.engine import Engine, EngineStopped, Job, QueueFull, Waker
from rere.serving.http.metrics import Metrics


class Held:
    """Ranks as soon as it may; remembers its batches. Item 13 breaks it."""

    beams, prefixes = 4, None
    snapshot: Any = SimpleNamespace(catalog=SimpleNamespace(trie=SimpleNamespace(max_length=2)))

    def __init__(self) -> None:
        self.may, self.given_up = threading.Semaphore(0), 0
        self.batches: list[list[int]] = []

    def width(self, query: Query) -> int:
        return max(query.k, self.beams)

    def rank(self, queries: Sequence[Query], unwanted: Callable[[], bool]) -> list[Ranked] | None:
        while not self.may.acquire(timeout=0.005):
            if unwanted():
                self.given_up += 1
                return None
        self.batches.append([query.history[0] for query in queries])
        if any(query.history[0] == 13 for query in queries):
            raise ValueError("unlucky")
        return [Ranked([query.history[0]], [0.0], self.snapshot) for query in queries]


@pytest.fixture
def model() -> Held:
    return Held()


@pytest.fixture
def engine(model: Held) -> Iterator[Engine]:
    engine = Engine(ServingConfig(batch_requests=3, queue_requests=6), Metrics())
    engine.start()
    yield engine
    model.may.release(100)
    engine.stop()


def ask(engine: Engine, model: Any, item: int, k: int = 2, seconds: float = 600, length: int = 1) -> Job:
    """Submit a query to a `Held`, which stands for a deployment."""
    job = Job(model, Query((item,) * length, k), time.monotonic() + seconds)
    engine.submit(job)
    return job


def busy(engine: Engine, model: Held) -> Job:
    """A first request, on which the model now works."""
    job = ask(engine, model, 0)
    while not job.future.running():
        time.sleep(0.001)
    return job


def answers(model: Held, jobs: list[Job]) -> list[int]:
    model.may.release(100)
    return [job.future.result(600).items[0] for job in jobs]


def test_one_alone_starts_at_once_and_those_that_come_meanwhile_share_the_next_batch(
    engine: Engine, model: Held
) -> None:
    jobs = [busy(engine, model)] + [ask(engine, model, n) for n in (1, 2, 3, 4)]
    assert answers(model, jobs) == [0, 1, 2, 3, 4]
    assert model.batches == [[0], [1, 2, 3], [4]]  # three at most


def test_a_batch_has_one_width_and_no_one_overtakes_for_ever(engine: Engine, model: Held) -> None:
    first = busy(engine, model)
    jobs = [ask(engine, model, n, k) for n, k in ((1, 9), (2, 2), (3, 9), (4, 3))]  # widths 9, 4, 9, 4
    assert answers(model, [first, *jobs]) == [0, 1, 2, 3, 4]
    assert model.batches == [[0], [1, 3], [2, 4]]


def test_prompt_tokens_bound_a_batch() -> None:
    model, engine = Held(), Engine(ServingConfig(batch_tokens=10), Metrics())
    engine.start()
    jobs = [busy(engine, model)] + [ask(engine, model, n, length=2) for n in (1, 2, 3)]  # 2 items of 2 tokens: 4 each
    assert answers(model, jobs) == [0, 1, 2, 3]
    assert model.batches == [[0], [1, 2], [3]]
    engine.stop()


def test_a_full_queue_refuses(engine: Engine, model: Held) -> None:
    busy(engine, model)
    for n in range(6):
        ask(engine, model, n)
    with pytest.raises(QueueFull):
        ask(engine, model, 99)


def test_the_late_and_the_cancelled_are_not_searched(engine: Engine, model: Held) -> None:
    first = busy(engine, model)
    late, gone, left, kept = (ask(engine, model, n, seconds=0.01 if n == 1 else 600) for n in (1, 2, 3, 4))
    gone.future.cancel()
    left.abandoned = True
    time.sleep(0.02)
    assert answers(model, [first, kept]) == [0, 4]
    assert model.batches == [[0], [4]]
    assert not late.future.done()  # whoever waited has had an answer by its own clock


def test_a_batch_that_nobody_waits_for_is_given_up(engine: Engine, model: Held) -> None:
    busy(engine, model).abandoned = True
    while not model.given_up:
        time.sleep(0.001)
    job = ask(engine, model, 1)
    assert answers(model, [job]) == [1]
    assert model.given_up == 1


def test_one_bad_request_does_not_spoil_its_neighbours(engine: Engine, model: Held) -> None:
    first = busy(engine, model)
    jobs = [ask(engine, model, n) for n in (1, 13, 2)]
    assert answers(model, [first, jobs[0], jobs[2]]) == [0, 1, 2]
    with pytest.raises(ValueError, match="unlucky"):
        jobs[1].future.result(600)


def test_stopping_finishes_what_waits_and_takes_no_more(engine: Engine, model: Held) -> None:
    jobs = [busy(engine, model), ask(engine, model, 1)]
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    while engine.ready:
        time.sleep(0.001)
    with pytest.raises(EngineStopped):
        ask(engine, model, 2)
    assert answers(model, jobs) == [0, 1]
    stopping.join(600)
    assert not stopping.is_alive()


def test_the_answers_of_a_batch_wake_the_loop_once() -> None:
    calls: list[Callable[[], None]] = []
    waker, answers = Waker(), [asyncio.Event() for _ in range(4)]
    loop: Any = SimpleNamespace(call_soon_threadsafe=calls.append)
    for answered in answers[:3]:
        waker.wake(answered, loop)
    assert len(calls) == 1
    calls[0]()
    assert [answered.is_set() for answered in answers] == [True, True, True, False]
    waker.wake(answers[3], loop)  # the next batch calls again
    assert len(calls) == 2
