"""What stands before the routes: content types, hosts, tokens, methods, ids, logs, and probes under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from infra.patience import until
from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.serving.engine import follow
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.follow import Follower
from rere.serving.engine.service import RecommendationService
from rere.serving.http.access import Tokens, default_hosts
from rere.serving.http.logs import set_up_logging
from rere.serving.titles import TitleSearch
from tests.serving.helpers import ADMIN, running, tiny_deployment

ASK = {"history": ["i1"]}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running() as (client, _):
        yield client


@pytest.mark.parametrize(
    ("kind", "status"), [(None, 415), ("text/plain", 415), ("application/json; charset=utf-8", 200)]
)
def test_a_body_that_is_not_said_to_be_json_is_refused(client: httpx.Client, kind: str | None, status: int) -> None:
    headers = {"content-type": kind} if kind else {}
    assert client.post("/recommend", content=json.dumps(ASK), headers=headers).status_code == status
    changed = client.post("/catalog/restore", content='{"item_ids": ["i1"]}', headers={**headers, **ADMIN})
    assert changed.status_code == status


def test_no_redirect_to_where_the_request_says(client: httpx.Client) -> None:
    answer = client.post("/recommend/", json=ASK, headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "evil" not in answer.text + str(answer.headers)


def test_only_allowed_hosts_are_answered() -> None:
    with running(ServingConfig(allowed_hosts=("api.example.com", "*.internal", "[::1]"))) as (client, _):
        for host in ("api.example.com", "API.example.com:5001", "a.internal", "[::1]:5001", "[::1]"):
            assert client.get("/health", headers={"host": host}).status_code == 200
        for host in ("evil.example", "xinternal", "example.com", "api.example.com.evil.example", ""):
            assert client.get("/health", headers={"host": host}).status_code == 400
    assert "localhost" in default_hosts("127.0.0.1")
    assert "localhost" in default_hosts("::1")
    assert default_hosts("0.0.0.0") == ("*",)


@pytest.mark.parametrize("header", ["bearer secret", "BEARER secret", "Bearer  secret"])
def test_the_schemes_name_has_no_case(header: str) -> None:
    with running(tokens=Tokens(use="secret")) as (client, _):
        assert client.get("/items", headers={"authorization": header}).status_code == 200
        for wrong in ("secret", "Basic secret", "Bearer", "Bearer secret2", ""):
            assert client.get("/items", headers={"authorization": wrong}).status_code == 401


def test_tokens_come_from_the_environment() -> None:
    tokens = Tokens.from_environment({"RERE_SERVE_TOKEN": "a\n", "RERE_ADMIN_TOKEN": " "})
    assert tokens == Tokens(use="a", admin=None)
    with pytest.raises(RereError, match="RERE_ADMIN_TOKEN"):
        Tokens.from_environment({"RERE_ADMIN_TOKEN": "two words"})


def test_the_document_says_which_token_opens_what() -> None:
    with running(tokens=Tokens(use="secret", admin="other")) as (client, _):
        paths = client.get("/openapi.json", headers={"authorization": "Bearer secret"}).json()["paths"]
        for path, methods in paths.items():
            [(method, operation)] = methods.items()
            said = [name for each in operation.get("security", []) for name in each]
            answer = client.request(method, path)
            assert (answer.status_code == 401) == bool(said), path
            assert said in ([], ["Admin token" if path.startswith("/catalog/") else "Token"])


def test_head_is_get_without_the_body(client: httpx.Client) -> None:
    for path in ("/", "/health", "/items?query=star", "/metrics", "/docs"):
        answer = client.head(path)
        assert answer.status_code == 200
        assert not answer.content
        assert int(answer.headers["content-length"]) > 0
    assert client.head("/recommend").status_code == 405
    assert client.get("/health").status_code == 200  # on the same connection: nothing was left over


def test_limits_stand_in_the_document() -> None:
    config = ServingConfig(max_k=7, max_history=8, max_exclusions=9, max_edits=10)
    with running(config) as (client, _):
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        asked = schemas["RecommendRequest"]["properties"]
        assert (asked["k"]["minimum"], asked["k"]["maximum"]) == (1, 7)
        assert (asked["history"]["maxItems"], asked["exclude"]["maxItems"]) == (8, 9)
        assert schemas["ItemsToAdd"]["properties"]["items"]["maxItems"] == 10
        assert schemas["ItemIds"]["properties"]["item_ids"]["maxItems"] == 10
        assert client.post("/recommend", json={**ASK, "k": 8}).status_code == 422


def test_numbers_are_what_json_means_by_them(client: httpx.Client) -> None:
    assert client.post("/recommend", json={**ASK, "k": 3.0, "deadline_ms": 9_000.0}).status_code == 200
    assert client.post("/recommend", json={**ASK, "k": 3.5}).status_code == 422
    wrong = client.post("/recommend", json={"history": ["i1", -1]})
    assert "body.history.1: Input should be greater than or equal to 0" in wrong.json()["problems"]
    unknown = client.post("/recommend", json={"history": ["i1", 50.0, 2**70]}).json()["unknown"]
    assert [each["entry"] for each in unknown] == ["50", str(2**70)]


def test_spellings_that_unicode_calls_equal_are_one_title(client: httpx.Client) -> None:
    new = {"items": [{"item_id": "cafe", "title": unicodedata.normalize("NFD", "Café")}]}
    for expected in (1, 0):
        assert client.post("/catalog/add", json=new, headers=ADMIN).json()["new"] == expected
    twice = {"items": [{"item_id": "x", "title": title} for title in ("One", "Two")]}
    assert client.post("/catalog/add", json=twice, headers=ADMIN).status_code == 409


def test_every_answer_names_its_request(client: httpx.Client) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = [client.get("/health", headers={"x-request-id": given}).headers["x-request-id"] for given in ("", "a b")]
    made.append(client.get("/no-such-path").headers["x-request-id"])
    assert len(set(made)) == 3
    assert all(len(each) == 32 for each in made)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The root logger is put back afterwards; the client, in the same process, is quiet."""
    root, client = logging.getLogger(), logging.getLogger("httpx")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    client.setLevel(logging.CRITICAL)
    yield
    client.setLevel(logging.NOTSET)


def test_logs_are_json_with_the_requests_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, logs: None
) -> None:
    with running(tokens=Tokens(use="secret")) as (client, service):
        set_up_logging("json")
        headers = {"x-request-id": "abc-1", "authorization": "Bearer secret"}
        client.post("/recommend", json=ASK, headers=headers)
        client.get("/items?query=private", headers=headers)
        client.get("/health")
        client.get("/%0aforged%1b[0m")

        def broken(*_: object) -> None:
            raise IndexError("inside")

        monkeypatch.setattr(service.live.deployment, "rank", broken)
        assert client.post("/recommend", json={"history": ["i2"]}, headers=headers).status_code == 500
    text = capsys.readouterr().err
    lines = [json.loads(line) for line in text.splitlines()]
    access = [line for line in lines if line["logger"] == "rere.access"]
    assert [(line["path"], line["status"]) for line in access] == [
        ("/recommend", 200),
        ("/items", 200),
        ("/%0aforged%1b[0m", 401),
        ("/recommend", 500),
    ]
    assert access[0].keys() >= {"method", "ms", "client", "timestamp", "level"}
    assert access[0]["request_id"] == "abc-1"
    [failure] = [line for line in lines if line["level"] == "error"]
    assert failure["request_id"] == "abc-1"
    assert "IndexError: inside" in failure["exception"]
    assert "private" not in text
    assert "secret" not in text


def test_logs_for_people_and_no_access_log(capsys: pytest.CaptureFixture[str], logs: None) -> None:
    with running(ServingConfig(access_log="none")) as (client, _):
        set_up_logging("text")
        client.post("/recommend", json=ASK)
        logging.getLogger("rere.anything").info("Said to %s", "people")
    lines = capsys.readouterr().err.splitlines()
    assert sum("Said to people" in line for line in lines) == 1
    assert not any("/recommend" in line or "\x1b" in line for line in lines)


def test_probes_are_answered_whatever_is_open() -> None:
    with running(ServingConfig(connections=2, read_seconds=60)) as (client, _), ThreadPoolExecutor(4) as pool:
        address = (client.base_url.host, client.base_url.port)
        head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        busy = [socket.create_connection(address) for _ in range(2)]
        silent: list[socket.socket] = []
        try:
            for connection in busy:
                connection.sendall(head)
            until(lambda: client.get("/items").status_code == 503)
            silent += [socket.create_connection(address) for _ in range(200)]  # more than are kept beside the busy ones
            for path in ("/health", "/ready", "/metrics"):
                answers = pool.map(lambda path: httpx.get(f"{client.base_url}{path}", timeout=20), [path] * 4)
                assert {answer.status_code for answer in answers} == {200}
            assert client.get("/items").headers["retry-after"] == "1"
        finally:
            for connection in [*busy, *silent]:
                connection.close()
        until(lambda: client.get("/items").status_code == 200)


def test_a_client_that_never_reads_is_sent_away() -> None:
    with running(ServingConfig(read_seconds=0.3)) as (client, service):
        with socket.socket() as greedy:
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            greedy.connect((client.base_url.host, client.base_url.port))
            asked = b"GET /docs/files/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
            greedy.sendall(asked * 8)  # 12 MB of answers: more than the system keeps for us

            def alone() -> bool:  # the one that asks
                return "rere_http_open_requests 1.0" in client.get("/metrics").text

            until(lambda: not alone())
            until(lambda: all(alone() for _ in range(3)))
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while part := greedy.recv(1 << 16):
                    received += len(part)
        assert received < 8 * 1_500_000
        assert service.engine.ready


class Flaky:
    """A registry that names version 2, whose first loads fail."""

    def __init__(self, failures: int) -> None:
        self.version, self.failures, self.loads = "2", failures, 0

    def current(self) -> str:
        return self.version

    def load(self, version: str) -> Deployment:
        self.loads += 1
        if self.loads <= self.failures:
            raise OSError("the store is away")
        return tiny_deployment(version)


def test_a_load_that_fails_is_tried_again_and_seen() -> None:
    source = Flaky(failures=2)
    with running(follower=Follower(source, seconds=0.02)) as (client, service):
        until(lambda: service.live.deployment.version == "2")
        until(lambda: 'rere_model_swaps_total{outcome="done"} 1.0' in client.get("/metrics").text)
        text = client.get("/metrics").text
        assert 'rere_model_swaps_total{outcome="failed"} 2.0' in text
        assert "rere_model_behind 0.0" in text
        assert client.get("/ready").json() == {"status": "ready", "model_version": "2", "wanted_version": "2"}


def test_a_version_that_never_loads_is_tried_less_often_and_left_at_once_when_the_alias_turns_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        service = RecommendationService(tiny_deployment("1"), ServingConfig())
        source = Flaky(failures=10**6)
        follower, clock = Follower(source, seconds=5), [0.0]
        monkeypatch.setattr(follow, "monotonic", lambda: clock[0])
        tries = []
        while clock[0] < 200:
            before = source.loads
            await follower.look(service)
            tries += [clock[0]] * (source.loads - before)
            clock[0] += 5
        assert tries == [0, 5, 15, 35, 65, 95, 125, 155, 185]  # at most half a minute apart
        assert follower.wanted == "2"
        assert b"rere_model_behind 1.0" in service.metrics.text()
        source.version = "1"
        await follower.look(service)
        assert b"rere_model_behind 0.0" in service.metrics.text()
        source.version = "2"
        await follower.look(service)
        assert source.loads == len(tries) + 1

    asyncio.run(story())


def test_a_registry_that_cant_be_read_is_told_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    class Away(Flaky):
        def current(self) -> str:
            raise OSError("no answer of https://ada:secret@mlflow.example.com/api")

    service = RecommendationService(tiny_deployment("1"), ServingConfig())
    asyncio.run(Follower(Away(failures=0), seconds=5).look(service))
    assert "https://***@mlflow.example.com/api" in caplog.text
    assert "secret" not in caplog.text


def test_titles_are_found_as_they_are_typed_in_haste() -> None:
    titles = ["Les Misérables", "Ærlige løgne", "Straße", "Łódź", "ΟΔΟΣ", "Amélie", "がん", "ｆｕｌｌ width"]
    search = TitleSearch(titles)
    found = {
        query: [titles[n] for n in search.find(query)]
        for query in ("miserables", "MISÉRABLES", "aerlige logne", "strasse", "lodz", "οδος", "ame", "かん", "full")
    }
    assert (
        found
        == {
            "miserables": titles[:1],
            "MISÉRABLES": titles[:1],
            "aerlige logne": titles[1:2],
            "strasse": titles[2:3],
            "lodz": titles[3:4],
            "οδος": titles[4:5],
            "ame": titles[5:6],
            "かん": [],  # the voice mark of kana is no accent
            "full": titles[7:],
        }
    )
