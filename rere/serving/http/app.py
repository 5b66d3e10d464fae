"""The HTTP service put together: routes, pages, probes, and the guard before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from rere.artifacts.provenance import own_version
from rere.serving.config import ServingConfig
from rere.serving.engine.follow import Follower
from rere.serving.engine.service import RecommendationService
from rere.serving.http.access import OPEN, USE_SCHEME, Tokens
from rere.serving.http.guard import Guard
from rere.serving.http.pages import add_pages
from rere.serving.http.problems import documented, handle_errors
from rere.serving.http.routes import catalogue_routes, use_routes
from rere.serving.http.schemas import Health, Readiness


def create_app(
    service: RecommendationService,
    config: ServingConfig,
    tokens: Tokens = Tokens(),  # noqa: B008  frozen
    follower: Follower | None = None,
) -> Guard:
    """The ASGI application; starting it starts the engine and the follower."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        tasks = [asyncio.create_task(service.live.keep_up(config.poll_seconds))]
        if follower:
            tasks.append(asyncio.create_task(follower.run(service)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(service.engine.stop)

    app = FastAPI(
        title="ReRe recommender",
        version=own_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be to whatever host the request names
    )
    security = [Depends(USE_SCHEME)] if tokens.use else []
    _add_probes(app, service, follower)
    _add_metrics(app, service, security)
    app.include_router(use_routes(service, config), dependencies=security)
    app.include_router(catalogue_routes(service, config))
    add_pages(app, service, token_needed=tokens.use is not None)
    handle_errors(app)
    return Guard(app, config, tokens, service.metrics, {*OPEN, "/openapi.json", *app.openapi()["paths"]})


def _add_probes(app: FastAPI, service: RecommendationService, follower: Follower | None) -> None:
    @app.get("/health")
    async def health() -> Health:
        """The process answers."""
        return Health(model_version=service.live.deployment.version)

    @app.get("/ready", responses={503: {"model": Readiness, "description": "Shutting down"}})
    async def ready(response: Response) -> Readiness:
        """The model takes requests."""
        up, served = service.engine.ready, service.live.deployment.version
        response.status_code = 200 if up else 503
        wanted = follower.wanted if follower else served
        return Readiness(status="ready" if up else "stopping", model_version=served, wanted_version=wanted)


def _add_metrics(app: FastAPI, service: RecommendationService, security: list[Any]) -> None:
    described = {200: {"content": {CONTENT_TYPE_LATEST: {}}}, **documented(401)}

    @app.get("/metrics", response_class=Response, responses=described, dependencies=security)
    async def metrics() -> Response:
        """Prometheus's text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
