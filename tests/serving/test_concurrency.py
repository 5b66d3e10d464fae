"""Many at once: removals, model swaps, clients that leave, a full queue, shutdown, and all of it for a while."""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.patience import until
from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Deployment, Query, Ranked
from rere.serving.engine.follow import Follower
from rere.serving.engine.service import RecommendationService
from tests.serving.helpers import ADMIN, TITLES, running, tiny_catalog, tiny_deployment

SOAK_SECONDS = float(os.environ.get("RERE_SOAK_SECONDS", "3"))
PATIENCE = 600  # seconds that a held search waits for its test, which may have failed


class Registry:
    """Two versions; the second's catalogue has the items in another order, and two more."""

    def __init__(self) -> None:
        self.version, self.broken = "1", False
        self.catalogues = {"1": tiny_catalog(), "2": tiny_catalog([*TITLES[::-1], "Late 1", "Late 2"])}
        self.titles = {
            version: dict(zip(catalog.item_ids, catalog.titles, strict=True))
            for version, catalog in self.catalogues.items()
        }

    def current(self) -> str:
        if self.broken:
            raise ConnectionError("the registry is away")
        return self.version

    def load(self, version: str) -> Deployment:
        if version not in self.catalogues:
            raise ValueError("half-written")
        return tiny_deployment(version, self.catalogues[version], seed=int(version))


@contextmanager
def load(
    client: httpx.Client,
    body: Callable[[], dict[str, object]],
    clients: int = 6,
    kept: Callable[[httpx.Response], Any] = lambda answer: answer,
) -> Iterator[list[Any]]:
    """Clients that ask without a pause while the block runs; what is kept of their answers, once it is left."""
    answers: list[Any] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, timeout=PATIENCE, trust_env=False) as own:
            while not stop.is_set():
                answers.append(kept(own.post("/recommend", json=body())))

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
        try:
            yield answers
        finally:
            stop.set()
        for each in asking:
            each.result()


def until_more(answers: list[Any], count: int) -> None:
    until(lambda: len(answers) > count)


def any_history() -> dict[str, object]:
    return {"history": random.choices([f"i{n}" for n in range(40)], k=3), "k": 20}


def ids(answer: httpx.Response) -> list[str]:
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_removed_item_never_comes_again_under_load() -> None:
    with running() as (client, _), load(client, any_history) as answers:
        order = random.Random(0).sample([f"i{n}" for n in range(40)], 15)
        for count, item in enumerate(order, 1):
            assert client.post("/catalog/remove", json={"item_ids": [item]}, headers=ADMIN).status_code == 200
            before = len(answers)
            for _ in range(3):  # each begins after the removal was confirmed
                assert not set(order[:count]) & set(ids(client.post("/recommend", json=any_history())))
            until_more(answers, before + 12)
            assert all(item not in ids(answer) for answer in answers[before + 6 :])  # six may have been on their way
    assert {answer.status_code for answer in answers} == {200}


def test_an_item_removed_while_its_search_runs_is_not_in_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as (client, service):
        best = ids(client.post("/recommend", json={"history": ["i1"], "k": 1}))[0]
        rank, started, go = service.live.deployment.rank, threading.Event(), threading.Event()

        def held(*arguments: Any) -> list[Ranked] | None:
            found = rank(*arguments)
            started.set()
            assert go.wait(PATIENCE)
            return found

        monkeypatch.setattr(service.live.deployment, "rank", held)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.post, "/recommend", json={"history": ["i1"], "k": 5})
            assert started.wait(PATIENCE)
            client.post("/catalog/remove", json={"item_ids": [best]}, headers=ADMIN)
            go.set()
            assert best not in ids(answer.result())
            assert len(ids(answer.result())) == 5


def test_promotion_and_rollback_drop_no_request_and_mix_no_versions() -> None:
    registry = Registry()
    with (
        running(follower=Follower(registry, seconds=0.01), deployment=registry.load("1")) as (client, service),
        load(client, any_history) as answers,
    ):
        client.post("/catalog/remove", json={"item_ids": ["i5"]}, headers=ADMIN)
        for version in ("2", "1", "2"):
            registry.version = version
            until(lambda: service.live.deployment.version == registry.version)
            before = len(answers)
            until_more(answers, before + 12)
            assert "i5" not in ids(client.post("/recommend", json={"history": ["i1"], "k": 50}))
        registry.version = "3"  # can't be loaded: the old one goes on
        until(lambda: 'rere_model_swaps_total{outcome="failed"} 0' not in client.get("/metrics").text)
        registry.broken = True
        assert client.get("/ready").json() == {"status": "ready", "model_version": "2", "wanted_version": "3"}
    assert {answer.status_code for answer in answers} == {200}
    versions = [answer.json()["model_version"] for answer in answers]
    assert set(versions) == {"1", "2"}
    for answer in answers:
        content = answer.json()
        titles = registry.titles[content["model_version"]]
        assert all(titles[item["item_id"]] == item["title"] for item in content["items"])


def test_a_request_that_comes_again_is_searched_once_until_the_catalogue_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(ServingConfig(cached_answers=2)) as (client, service):
        searched: list[int] = []
        rank = service.live.deployment.rank

        def counted(queries: list[Query], *arguments: Any) -> list[Ranked] | None:
            searched.extend(query.history[0] for query in queries)
            return rank(queries, *arguments)

        monkeypatch.setattr(service.live.deployment, "rank", counted)
        first = [client.post("/recommend", json={"history": [item]}).json() for item in ("i1", "i2", "i1")]
        assert first[0] == first[2]
        assert searched == [1, 2]
        client.post("/recommend", json={"history": ["i1"], "seen": "exclude"})  # another question: i2's answer goes
        client.post("/recommend", json={"history": ["i1"]})
        assert searched == [1, 2, 1]
        client.post("/recommend", json={"history": ["i2"]})
        assert searched == [1, 2, 1, 2]
        best = first[0]["items"][0]["item_id"]
        client.post("/catalog/remove", json={"item_ids": [best]}, headers=ADMIN)
        assert best not in ids(client.post("/recommend", json={"history": ["i1"]}))
        assert "rere_answers_cached_total 2.0" in client.get("/metrics").text


class Held:
    """A service's search, made to wait, which remembers whom it searched for."""

    def __init__(self, service: RecommendationService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.rank = threading.Event(), service.live.deployment.rank
        self.searched: list[list[int]] = []
        monkeypatch.setattr(service.live.deployment, "rank", self)

    def __call__(self, queries: list[Query], unwanted: Callable[[], bool]) -> list[Ranked] | None:
        self.searched.append([query.history[0] for query in queries])
        assert self.go.wait(PATIENCE)
        return self.rank(queries, unwanted)


def gauge(client: httpx.Client, name: str) -> float:
    """What the service says of itself at the moment."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_a_client_that_leaves_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as (client, service), ThreadPoolExecutor(1) as pool:
        held = Held(service, monkeypatch)
        first = pool.submit(client.post, "/recommend", json={"history": ["i1"]})
        until(lambda: held.searched == [[1]])
        body = b'{"history": ["i2"]}'
        with socket.create_connection((client.base_url.host, client.base_url.port)) as leaving:
            leaving.sendall(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            leaving.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            until(lambda: gauge(client, "rere_queue_requests") == 1)
        until(lambda: gauge(client, "rere_http_open_requests") == 2)  # the first, and this question
        held.go.set()
        assert first.result().status_code == 200
        client.post("/recommend", json={"history": ["i3"]})
        assert held.searched == [[1], [3]]


def test_a_full_queue_is_429_and_a_shutdown_finishes_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(2) as pool:
        with running(ServingConfig(queue_requests=1, cached_answers=0)) as (client, service):
            held = Held(service, monkeypatch)
            url = f"{client.base_url}/recommend"
            first = pool.submit(httpx.post, url, json={"history": ["i1"]}, timeout=PATIENCE)
            until(lambda: len(held.searched) == 1)
            second = pool.submit(httpx.post, url, json={"history": ["i2"]}, timeout=PATIENCE)
            until(lambda: gauge(client, "rere_queue_requests") == 1)
            full = client.post("/recommend", json={"history": ["i3"]})
            assert full.status_code == 429
            assert full.headers["retry-after"] == "1"
            assert client.get("/health").status_code == 200
            threading.Timer(0.2, held.go.set).start()
        # `running` has stopped the server: both had their answer first
        assert first.result().status_code == 200
        assert second.result().status_code == 200


def rss_mib() -> float:
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_soak() -> None:
    """Traffic, changes of the catalogue and model swaps together; `RERE_SOAK_SECONDS` makes it longer."""
    registry = Registry()
    with running(follower=Follower(registry, seconds=0.1), deployment=registry.load("1")) as (client, _):
        with load(client, any_history, clients=3):
            time.sleep(0.5)
        start, stop = rss_mib(), time.monotonic() + SOAK_SECONDS
        # Answers kept whole would be the growth that is measured.
        with load(client, any_history, clients=8, kept=lambda answer: answer.status_code) as answers:
            turn = 0
            while time.monotonic() < stop or len(answers) <= 20 * SOAK_SECONDS:
                turn += 1
                registry.version = str(1 + turn // 10 % 2)
                item = {"item_id": f"new{turn % 20}", "title": f"New title {turn % 20}"}
                changes = {"remove": {"item_ids": [f"i{turn % 40}"]}, "add": {"items": [item]}}
                changes["restore"] = changes["remove"]
                for what, body in changes.items():
                    assert client.post(f"/catalog/{what}", json=body, headers=ADMIN).status_code == 200
                time.sleep(0.02)
        assert set(answers) == {200}
        assert rss_mib() - start < 60
