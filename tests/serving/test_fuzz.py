"""Random requests, from the OpenAPI document and from plain bytes: whatever comes, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rere.serving.config import ServingConfig
from tests.serving.helpers import ADMIN, TITLES, running

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(ServingConfig(max_k=50)) as (client, _):
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client):
    return schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


@pytest.mark.parametrize("path", ["/recommend", "/items", "/catalog/add", "/catalog/remove", "/catalog/restore"])
def test_no_request_that_the_document_can_describe_makes_it_fail(document, path):
    """Valid and invalid ones, each answer checked against the document."""
    operation = document[path]["GET" if path == "/items" else "POST"]
    strategies = [
        operation.as_strategy(generation_mode=mode)
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    ]

    @settings(max_examples=25, **QUIET)
    @given(case=st.one_of(*strategies))
    def run(case):
        headers = ADMIN if path.startswith("/catalog") else {}
        case.call_and_validate(headers={**(case.headers or {}), **headers}, checks=CHECKS, timeout=600)

    run()


NAMES = st.one_of(st.sampled_from([*(f"i{n}" for n in range(40)), *TITLES]), st.text(max_size=20))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=4)
)


@settings(max_examples=60, **QUIET)
@given(
    history=st.lists(NAMES, min_size=1, max_size=12),
    k=st.integers(1, 50),
    exclude=st.lists(NAMES, max_size=30),
    seen=st.sampled_from(["include", "exclude"]),
)
def test_every_answer_is_distinct_offered_items_best_first(client, history, k, exclude, seen):
    body = {"history": history, "k": k, "exclude": exclude, "seen": seen}
    answer = client.post("/recommend", content=json.dumps(body), headers={"content-type": "application/json"})
    by_name = {name: f"i{n}" for n in range(40) for name in (f"i{n}", TITLES[n])}
    known = [by_name[entry] for entry in history if entry in by_name]
    if not known or not all(entry and entry.isprintable() for entry in history + exclude):
        assert answer.status_code in (200, 422)
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
def test_no_bytes_make_it_fail(client, body):
    answer = client.post("/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422)
    assert answer.headers["content-type"] == "application/json"
