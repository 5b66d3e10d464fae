"""A tiny model behind the real service, and a server of it on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd

from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.decoding import SearchSettings
from rere.models.backbone import load_model
from rere.models.tree_attention import TreeModel
from rere.recommenders.prior import Prior
from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Deployment
from rere.serving.engine.follow import Follower
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.engine.service import RecommendationService
from rere.serving.http.access import Tokens
from rere.serving.http.app import create_app
from rere.serving.http.server import make_server
from tests.conftest import TINY

ADMIN = {"authorization": "Bearer admin-secret"}
TITLES = [f"{'Star' if n % 2 else 'Moon'} {'Trip' if n % 3 else 'Port'} {n}" for n in range(40)]


def tiny_catalog(titles: list[str] = TITLES) -> CatalogIndex:
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(len(titles))], "title": titles})
    return build_index(items, IndexConfig(code=PrefixCode(), backbone=TINY))


def tiny_deployment(
    version: str = "1", catalog: CatalogIndex | None = None, seed: int = 0, prior: Prior | None = None
) -> GenerativeDeployment:
    catalog = catalog or tiny_catalog()
    model = TreeModel(load_model(TINY, len(catalog.tokenizer), seed).eval())
    search = SearchSettings(beams=6, prefix_tokens=1_000, lookahead_tokens=64)
    return GenerativeDeployment(version, model, catalog, history_items=3, search=search, prior=prior)


@contextmanager
def running(
    config: ServingConfig = ServingConfig(cached_answers=0),  # noqa: B008  frozen
    deployment: Deployment | None = None,
    tokens: Tokens = Tokens(admin="admin-secret"),  # noqa: B008  frozen
    edits_file: Path | None = None,
    follower: Follower | None = None,
) -> Iterator[tuple[httpx.Client, RecommendationService]]:
    """A server in a thread, a client of it, and the service behind it."""
    service = RecommendationService(deployment or tiny_deployment(), config, edits_file)
    server = make_server(create_app(service, config, tokens, follower), config, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False) as client:
        yield client, service
    server.should_exit = True
    thread.join(600)
    assert not thread.is_alive()
