"""Random requests, from the OpenAPI document and from plain bytes: whatever comes, never a 5xx."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rere.serving.config import ServingConfig
from rere.serving.http.access import Tokens
from tests.serving.helpers import TITLES, running

PROJECT = Path(__file__).parents[2]
QUIET: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(ServingConfig(max_k=50)) as (client, _):
        yield client


@pytest.mark.parametrize("use", [None, "secret"])
def test_schemathesis_with_all_its_checks_finds_nothing(use: str | None, tmp_path: Path) -> None:
    """Valid and invalid requests of all that the OpenAPI document describes, each answer checked against it."""
    with running(ServingConfig(max_k=50), tokens=Tokens(use=use, admin="secret")) as (client, _):
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(PROJECT / "schemathesis.toml"), "run"]
        options = ["--checks", "all", "--max-examples", "15", "--seed", "1", "--request-timeout", "600", "--no-color"]
        token = ["-H", "Authorization: Bearer secret"]
        done = subprocess.run(
            [*command, f"{client.base_url}/openapi.json", *options, *token],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout
    assert "8 selected / 8 total" in done.stdout


NAMES = st.one_of(st.sampled_from([*(f"i{n}" for n in range(40)), *TITLES]), st.text(max_size=20))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=4)
)


@settings(max_examples=60, **QUIET)
@given(
    history=st.lists(NAMES, max_size=12),
    k=st.integers(1, 50),
    exclude=st.lists(NAMES, max_size=30),
    seen=st.sampled_from(["include", "exclude"]),
)
def test_every_answer_is_distinct_offered_items_best_first(
    client: httpx.Client, history: list[str], k: int, exclude: list[str], seen: str
) -> None:
    body = {"history": history, "k": k, "exclude": exclude, "seen": seen}
    answer = client.post("/recommend", content=json.dumps(body), headers={"content-type": "application/json"})
    by_name = {name: f"i{n}" for n in range(40) for name in (f"i{n}", TITLES[n])}
    known = [by_name[entry] for entry in history if entry in by_name]
    if not known or not all(entry and entry.isprintable() for entry in history + exclude):
        assert answer.status_code in (200, 404, 422)
        return
    assert answer.status_code == 200
    items = answer.json()["items"]
    listed = [item["item_id"] for item in items]
    barred = {by_name[entry] for entry in exclude if entry in by_name} | (set(known) if seen == "exclude" else set())
    assert len(set(listed)) == len(listed)
    assert not barred & set(listed)
    assert len(listed) <= k
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)


@settings(max_examples=80, **QUIET)
@given(body=st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps({"history": value}).encode())))
def test_no_bytes_make_it_fail(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404, 422)
    assert answer.headers["content-type"] == "application/json"
