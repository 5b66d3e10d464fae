"""The service over real sockets: answers, refusals, changes of the catalogue."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from rere.models.context import longest_possible
from rere.recommenders.generative import GenerativeRecommender
from rere.serving.config import ServingConfig
from rere.serving.edits_log import read_edits
from rere.serving.engine.deployment import Ranked
from rere.serving.engine.service import RecommendationService
from rere.serving.http.access import Tokens
from tests.serving.helpers import ADMIN, TITLES, running, tiny_catalog, tiny_deployment

Running = tuple[httpx.Client, RecommendationService]
LIMITS = ServingConfig(
    max_k=50, max_history=20, max_exclusions=45, body_bytes=4_096, read_seconds=0.4, cached_answers=0
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(LIMITS) as pair:
        yield pair


@pytest.fixture
def client(server: Running) -> httpx.Client:
    return server[0]


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def recommended(client: httpx.Client, **body: object) -> list[str]:
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_the_answer_is_the_recommenders(client: httpx.Client) -> None:
    deployment = tiny_deployment()
    reference = GenerativeRecommender("reference", deployment.model, tiny_catalog(), beams=6)
    for history in ([4], [1, 2, 3], [9, 8, 7, 6, 5]):
        ranking = reference.recommend([history[-3:]], 5)  # the model reads three items
        answer = client.post("/recommend", json={"history": [f"i{n}" for n in history], "k": 5}).json()
        assert [item["item_id"] for item in answer["items"]] == [f"i{n}" for n in ranking.items[0]]
        assert [item["score"] for item in answer["items"]] == pytest.approx(ranking.scores[0].tolist(), abs=1e-3)
        assert [item["title"] for item in answer["items"]] == [TITLES[n] for n in ranking.items[0]]
        assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
        assert answer["model_version"] == "1"


def test_titles_numbers_and_unknown_entries(client: httpx.Client) -> None:
    by_id = recommended(client, history=["i7", "i8"])
    answer = client.post("/recommend", json={"history": [TITLES[7], "no such", "i8", 12345], "exclude": ["nor this"]})
    assert [item["item_id"] for item in answer.json()["items"]] == by_id
    assert [entry["entry"] for entry in answer.json()["unknown"]] == ["no such", "12345", "nor this"]
    nothing = client.post("/recommend", json={"history": ["no such"]})
    assert nothing.status_code == 404  # this model has no answer for a new user
    assert client.post("/recommend", json={"history": []}).status_code == 404
    assert "at least one item" in nothing.json()["detail"]
    assert nothing.json()["detail"].endswith("such as what is popular")  # the whole remedy


def test_exclusions_and_seen(client: httpx.Client) -> None:
    everything = recommended(client, history=["i3", "i4", "i5", "i6"], k=40)
    assert len(everything) == 40
    fewer = recommended(client, history=["i3", "i4", "i5", "i6"], k=40, seen="exclude", exclude=["i9", TITLES[10]])
    assert fewer == [item for item in everything if item not in {"i3", "i4", "i5", "i6", "i9", "i10"}]
    assert recommended(client, history=["i3"], k=3, exclude=[f"i{n}" for n in range(40)]) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"history": ["i1"], "k": 0}, 422),
        ({"history": ["i1"], "k": 51}, 422),
        ({"history": ["i1"], "k": "3"}, 422),
        ({"history": ["i1"], "k": True}, 422),
        ({"history": ["i1"] * 21}, 422),
        ({"history": ["i1"], "exclude": ["i2"] * 46}, 422),
        ({"history": [None]}, 422),
        ({"history": "i1"}, 422),
        ({"history": ["x" * 600]}, 422),
        ({"history": ["i1"], "surprise": 1}, 422),
        ({"history": ["i1"] * 2_000}, 413),
        ({"history": ["i1"], "seen": "maybe"}, 422),
    ],
)
def test_senseless_requests_are_refused(client: httpx.Client, body: object, status: int) -> None:
    answer = client.post("/recommend", json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe", b"[" * 4_000, b'{"history":[' + b"9" * 4_000, b'{"history":["\\ud800"]}', b'{"k":NaN}', b""],
)
def test_broken_bodies_are_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/recommend", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"detail", "problems"}


def test_a_body_without_a_length_is_stopped_at_the_limit(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield from [b" " * 1_000] * 10

    assert client.post("/recommend", content=endless()).status_code == 413


def test_a_deadline_that_passes(client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    service = server[1]
    rank = service.live.deployment.rank

    def slow(*arguments: Any) -> list[Ranked] | None:
        time.sleep(0.2)
        return rank(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(service.live.deployment, "rank", slow)
        answer = client.post("/recommend", json={"history": ["i1"], "deadline_ms": 50})
    assert answer.status_code == 408
    assert recommended(client, history=["i1"], deadline_ms=5_000)


def test_items_health_metrics_and_openapi(client: httpx.Client) -> None:
    found = client.get("/items", params={"query": "star t", "limit": 3}).json()["items"]
    assert [item["title"] for item in found] == [title for title in TITLES if title.startswith("Star T")][:3]
    assert client.get("/items", params={"query": "%_\\'\";--"}).json() == {"items": []}
    assert client.get("/health").json() == {"status": "ok", "model_version": "1"}
    assert client.get("/ready").json()["status"] == "ready"
    recommended(client, history=["i1"])
    text = client.get("/metrics").text
    assert 'rere_http_requests_total{route="/recommend",status="200"}' in text
    assert 'rere_model_info{version="1"} 1.0' in text
    assert 'rere_catalogue_items{state="offered"} 40.0' in text
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/recommend", "/items", "/health", "/ready", "/metrics", "/catalog/remove"} <= paths.keys()


def test_the_page_puts_nothing_into_html_and_allows_no_foreign_script(client: httpx.Client) -> None:
    answer = client.get("/")
    assert "innerHTML" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    nonce = policy.split("nonce-")[1].split("'")[0]
    assert answer.text.count(f'nonce="{nonce}"') == 2
    assert nonce not in client.get("/").text


def test_the_catalogue_changes_at_once_and_for_good(tmp_path: Path) -> None:
    edits = tmp_path / "edits.json"
    with running(edits_file=edits) as (client, _):
        best = recommended(client, history=["i1"], k=2)[0]
        change = {"item_ids": [best, "later"]}
        assert client.post("/catalog/remove", json=change).status_code == 401
        assert client.post("/catalog/remove", json=change, headers=ADMIN).json() == {
            "unknown": ["later"],
            "durable": True,
            "problem": "",
        }
        assert best not in recommended(client, history=[best, "i1"], k=40)  # a history may still name it
        assert best not in [item["item_id"] for item in client.get("/items?query=r&limit=50").json()["items"]]
        new = {"items": [{"item_id": "n", "title": "<b>Brand</b> new"}]}
        added = client.post("/catalog/add", json=new, headers=ADMIN).json()
        assert (added["new"], added["restored"], added["durable"]) == (1, 0, True)
        assert "n" in recommended(client, history=["i1"], k=41)
        assert recommended(client, history=["<b>Brand</b> new"], k=1)
        wrong = {"items": [{"item_id": "n", "title": "Another title"}]}
        assert client.post("/catalog/add", json=wrong, headers=ADMIN).status_code == 409
        for item, title in (("m", "two\nlines"), ("m", "evil\u202etitle"), ("m\u200b", "A title")):
            hidden = client.post("/catalog/add", json={"items": [{"item_id": item, "title": title}]}, headers=ADMIN)
            assert hidden.status_code == 422
            assert "nothing invisible" in hidden.text
    with running(edits_file=edits) as (client, service):  # another process
        assert best not in recommended(client, history=["i1"], k=41)
        assert "n" in recommended(client, history=["i1"], k=41)
        assert client.post("/catalog/restore", json={"item_ids": [best]}, headers=ADMIN).json()["unknown"] == []
        assert best in recommended(client, history=["i1"], k=41)
        assert service.live.edits.removed == {"later"}
    assert read_edits(edits).added == {"n": "<b>Brand</b> new"}


def test_services_that_share_a_log_see_each_others_changes_and_forget_none(tmp_path: Path) -> None:
    config, edits = ServingConfig(cached_answers=0, poll_seconds=0.05), tmp_path / "edits.json"
    with running(config, edits_file=edits) as (one, first), running(config, edits_file=edits) as (two, second):
        new = {"items": [{"item_id": "n", "title": "Brand new"}]}
        for client, what, body in ((one, "remove", {"item_ids": ["i1"]}), (two, "remove", {"item_ids": ["i2"]})):
            assert client.post(f"/catalog/{what}", json=body, headers=ADMIN).json()["durable"]
        assert one.post("/catalog/add", json=new, headers=ADMIN).json()["new"] == 1
        until(lambda: first.live.edits == second.live.edits)
        for client in (one, two):
            offered = recommended(client, history=["i3"], k=50)
            assert not {"i1", "i2"} & set(offered)
            assert "n" in offered
        other = {"items": [{"item_id": "n", "title": "Another title"}]}
        assert two.post("/catalog/add", json=other, headers=ADMIN).status_code == 409
    with running(config, edits_file=edits) as (later, _):
        assert not {"i1", "i2"} & set(recommended(later, history=["i3"], k=50))


def test_a_removal_that_cannot_be_written_is_in_effect_and_says_so(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    config = ServingConfig(cached_answers=0, poll_seconds=0.05)
    with running(config, edits_file=volume / "edits.json") as (client, _):
        volume.write_text("in the way")  # as on a full disk: nothing can be written below it
        answer = client.post("/catalog/remove", json={"item_ids": ["i1"]}, headers=ADMIN)
        assert answer.status_code == 200
        assert not answer.json()["durable"]
        assert answer.json()["problem"]
        assert "i1" not in recommended(client, history=["i3"], k=50)
        assert "rere_catalogue_changes_not_on_disk 1.0" in client.get("/metrics").text
        volume.unlink()
        until(lambda: "rere_catalogue_changes_not_on_disk 0.0" in client.get("/metrics").text)
    assert read_edits(volume / "edits.json").removed == {"i1"}


def test_what_holds_already_is_not_written_again(tmp_path: Path) -> None:
    edits = tmp_path / "edits.json"
    with running(edits_file=edits) as (client, _):
        for what, body in (
            ("remove", {"item_ids": ["i1", "i2"]}),
            ("add", {"items": [{"item_id": "n", "title": "Brand new"}]}),
            ("restore", {"item_ids": ["i3"]}),
        ):
            client.post(f"/catalog/{what}", json=body, headers=ADMIN)
            before = edits.read_text()
            for _ in range(3):
                assert client.post(f"/catalog/{what}", json=body, headers=ADMIN).json()["durable"]
            assert edits.read_text() == before


def test_removals_before_a_line_that_cannot_be_read_are_in_effect(tmp_path: Path) -> None:
    config, edits = ServingConfig(cached_answers=0, poll_seconds=0.05), tmp_path / "edits.json"
    with running(config, edits_file=edits) as (client, _):
        edits.write_text('{"removed": ["i1"]}\nno change at all\n')
        until(lambda: "i1" not in recommended(client, history=["i3"], k=50))


def test_what_the_model_cannot_read_is_refused() -> None:
    deployment = tiny_deployment()
    catalog = deployment.snapshot.catalog
    deployment.model.context = longest_possible(catalog, deployment.history_items) - 1
    long, short = (find(range(len(catalog.item_ids)), key=lambda n: len(catalog.item_tokens[n])) for find in (max, min))
    with running(deployment=deployment) as (client, service):
        refused = client.post("/recommend", json={"history": [f"i{long}"] * 3})
        assert refused.status_code == 409
        assert "name fewer items" in refused.text
        assert recommended(client, history=[f"i{long}"] * 2)
        assert recommended(client, history=[f"i{short}"] * 3)
        titles = [f"A quite long beginning, shared by both {n}" for n in "ab"]  # so their codes are long
        new = {"items": [{"item_id": title[-1], "title": title} for title in titles]}
        refused = client.post("/catalog/add", json=new, headers=ADMIN)
        assert refused.status_code == 409
        assert "shorten the new titles" in refused.text
        assert not service.live.edits.added


def test_tokens() -> None:
    with running(tokens=Tokens(use="secret")) as (client, _):
        for path in ("/health", "/ready", "/", "/docs", "/docs/files/swagger-ui.css"):
            assert client.get(path).status_code == 200
        for path in ("/openapi.json", "/recommend/", "/no-such-path"):
            assert client.get(path).status_code == 401
        assert client.get("/items?query=a").status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
        refused = client.post(
            "/recommend",
            json={"history": ["i1"]},
            headers={b"authorization": "Bearer s\xe9cret".encode("latin-1")},
        )
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        good = client.post("/recommend", json={"history": ["i1"]}, headers={"authorization": "Bearer secret"})
        assert good.status_code == 200
        change = client.post("/catalog/remove", json={"item_ids": ["i1"]}, headers={"authorization": "Bearer secret"})
        assert change.status_code == 403  # no admin token is set: off


def test_clients_that_are_slow_to_speak_are_sent_away(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port)
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    for said in (b"", b"POST /recommend HT", head[:-2], head + b'{"his'):
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(said)
            started, answer = time.monotonic(), b""
            while part := connection.recv(4_096):
                answer += part
            assert time.monotonic() - started < 30  # the limit is 0.4 s
            assert (b"408" in answer.split(b"\r\n")[0]) == said.startswith(head)


def test_no_request_reaches_the_file_system(client: httpx.Client) -> None:
    for path in ("/..%2f..%2fetc%2fpasswd", "/%2e%2e/etc/passwd", "/static/../../etc/passwd", "/items/../README.md"):
        assert client.get(path).status_code in (404, 422)
    answer = client.post("/recommend", json={"history": ["../../etc/passwd", "i1"], "exclude": ["file:///etc/passwd"]})
    assert [entry["entry"] for entry in answer.json()["unknown"]] == ["../../etc/passwd", "file:///etc/passwd"]


def test_a_failure_inside_is_a_plain_500_and_the_next_request_is_served(
    client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> NoReturn:
        raise IndexError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(server[1].live.deployment, "rank", broken)
        answer = client.post("/recommend", json={"history": ["i1"]})
    assert answer.status_code == 500
    assert answer.json()["detail"] == "the service failed; its log says why"
    assert recommended(client, history=["i1"])
