"""Sources with URLs: fetched whole, again when they changed, and refused in one sentence when that fails."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rere.data.remote import here, origin
from rere.data.sources.base import load_source, source_fingerprint, source_location
from rere.data.sources.tables import Tables
from rere.errors import RereError
from rere.runtime import retries

EVENTS = b"user_id,item_id,timestamp\n1,a,1000000000\n2,b,1000000001\n"
ITEMS = b"item_id,title\na,Moon\nb,Star\n"


class Shop:
    """A web server's files; `trouble` says what an answer does in place of a file, and is used up."""

    def __init__(self) -> None:
        self.files = {"/events.csv": EVENTS, "/items.csv": ITEMS}
        self.trouble: list[str | int] = []
        self.asked: Counter[str] = Counter()
        self.tags = True
        self.url = ""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("RERE_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setattr(retries, "WAITS", (0.0, 0.0))
    shop = Shop()

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(b"")

        def do_GET(self) -> None:
            shop.asked[self.path] += 1
            self.answer(None)

        def answer(self, body: bytes | None) -> None:
            content = shop.files.get(self.path)
            trouble = shop.trouble.pop(0) if shop.trouble and self.command == "GET" else None
            if isinstance(trouble, int) or content is None:
                self.send_error(trouble if isinstance(trouble, int) else 404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            if shop.tags:
                self.send_header("ETag", f'"{hash(content)}"')
            self.end_headers()
            sent = content if body is None else body
            self.wfile.write(sent[: len(sent) // 2] if trouble == "cut off" else sent)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    shop.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield shop
    server.shutdown()
    thread.join()
    server.server_close()


def tables(url: str) -> Tables:
    return Tables.model_validate({"interactions": f"{url}/events.csv", "items": f"{url}/items.csv"})


def test_a_table_comes_over_http_and_is_fetched_again_when_it_changed(shop: Shop) -> None:
    source = tables(shop.url)
    raw = load_source(source)
    assert raw.interactions["item_id"].tolist() == ["a", "b"]
    assert set(raw.sha256) == {f"{shop.url}/events.csv", f"{shop.url}/items.csv"}
    assert source_location(source) == f"tables {shop.url}/events.csv {shop.url}/items.csv"
    before = source_fingerprint(source)
    assert shop.asked == {"/events.csv": 1, "/items.csv": 1}
    shop.files["/events.csv"] += b"3,a,1000000002\n"
    assert source_fingerprint(source) != before
    assert len(load_source(source).interactions) == 3
    assert shop.asked == {"/events.csv": 2, "/items.csv": 1}


def test_where_the_server_tells_no_state_content_does(shop: Shop) -> None:
    shop.tags = False
    first = here(f"{shop.url}/events.csv")
    assert here(f"{shop.url}/events.csv") == first
    shop.files["/events.csv"] += b"3,a,1000000002\n"
    assert here(f"{shop.url}/events.csv") != first
    assert shop.asked["/events.csv"] == 3


@pytest.mark.parametrize("trouble", [503, 429, "cut off"])
def test_what_passes_is_tried_again_and_told(shop: Shop, trouble: str | int, caplog: pytest.LogCaptureFixture) -> None:
    shop.trouble = [trouble]
    assert here(f"{shop.url}/events.csv").read_bytes() == EVENTS
    assert "Another try in" in caplog.text


@pytest.mark.parametrize(("status", "remedy"), [(403, "ask for access"), (404, "correct the URL"), (401, "log in")])
def test_what_does_not_pass_is_refused_at_once(shop: Shop, status: int, remedy: str) -> None:
    shop.trouble = [status] * 9
    with pytest.raises(RereError, match=rf"a file at {shop.url}/events\.csv; got .*{status}.*Fix: {remedy}"):
        here(f"{shop.url}/events.csv")
    assert shop.asked["/events.csv"] == 1


def test_a_file_that_is_always_cut_off_is_refused_and_nothing_of_it_stays(shop: Shop, tmp_path: Path) -> None:
    shop.trouble = ["cut off"] * 9
    with pytest.raises(RereError, match=r"events\.csv; got .*Fix: check the URL and the network"):
        here(f"{shop.url}/events.csv")
    assert [path.name for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == [".fetched-from"]


def test_where_nobody_listens_it_is_said_at_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RereError, match=r"a file at http://127\.0\.0\.1:9/x\.csv.*Fix: check the URL and the network"):
        here("http://127.0.0.1:9/x.csv")
    assert "Another try" not in caplog.text


def test_a_directory_of_an_object_store_comes_as_one(shop: Shop) -> None:
    store = fsspec.filesystem("memory")
    put: Callable[[str, bytes], None] = store.pipe_file
    put("/night/events/country=de/1.csv", EVENTS)
    put("/night/events/country=fr/1.csv", b"user_id,item_id,timestamp\n3,a,1000000002\n")
    put("/night/items.csv", ITEMS)
    source = Tables.model_validate({"interactions": "memory://night/events", "items": "memory://night/items.csv"})
    raw = load_source(source)
    assert sorted(raw.interactions["user_id"]) == ["1", "2", "3"]
    assert set(map(str, raw.sha256)) >= {"memory://night/events/country=de/1.csv", "memory://night/items.csv"}
    store.rm("/night", recursive=True)


def test_s3(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for name, content in {"events.csv": EVENTS, "items.csv": ITEMS}.items():
            client.put_object(Bucket="shop", Key=name, Body=content)
        source = tables("s3://shop")
        before = source_fingerprint(source)
        assert len(load_source(source).interactions) == 2
        client.put_object(Bucket="shop", Key="events.csv", Body=EVENTS + b"3,a,1000000002\n")
        assert source_fingerprint(source) != before
        with pytest.raises(RereError, match=r"a file at s3://shop/none\.csv.*Fix: correct the URL"):
            here("s3://shop/none.csv")
    finally:
        server.stop()


def test_urls_hold_no_credentials_and_paths_stay_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name and password"):
        tables("https://me:secret@example.com")
    source = Tables(interactions=tmp_path / "a.csv", items=tmp_path / "b.csv")
    assert source.interactions == tmp_path / "a.csv"
    assert origin(tmp_path / "a.csv") == str(tmp_path / "a.csv")
