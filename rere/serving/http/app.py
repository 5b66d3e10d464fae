"""The HTTP service: routes, errors, the page."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Query, Request, params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from jinja2 import Environment
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from rere import __version__
from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.serving.engine.engine import EngineStopped, QueueFull
from rere.serving.engine.follow import Follower
from rere.serving.engine.service import CatalogChange, DeadlinePassed, Recommendation, RecommendationService
from rere.serving.http.guard import Guard, Tokens
from rere.serving.http.schemas import (
    Added,
    Changed,
    FoundItem,
    FoundItems,
    ItemIds,
    ItemsToAdd,
    Problem,
    RecommendRequest,
    RecommendResponse,
    State,
)

T = TypeVar("T")
REASONS = {
    400: "Not JSON",
    401: "No bearer token, or a wrong one",
    403: "Changes of the catalogue are off",
    408: "The deadline passed",
    413: "The body is too long",
    422: "The request makes no sense; `problems` says where",
    429: "The queue is full: come back later",
    503: "Shutting down",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": REASONS[status]} for status in statuses}


READ = _errors(401, 413, 422)
ASK = _errors(400, 401, 408, 413, 422, 429, 503)
CHANGE = _errors(400, 401, 403, 408, 413, 422)
METRICS: dict[int | str, dict[str, Any]] = {200: {"content": {CONTENT_TYPE_LATEST: {}}}, **_errors(401)}
BEARER = [Depends(HTTPBearer(auto_error=False))]  # says so in the OpenAPI document; `Guard` checks it


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
        tasks = [asyncio.create_task(service.keep_up())]
        if follower:
            tasks.append(asyncio.create_task(follower.run(service)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(service.engine.stop)

    app = FastAPI(title="ReRe recommender", version=__version__, lifespan=lifespan, redoc_url=None)
    _open_routes(app, service)
    _routes(app, service, config, BEARER if tokens.use else [])
    _catalogue_routes(app, service, config)
    _error_handlers(app)
    return Guard(app, config, tokens, service.metrics)


def _open_routes(app: FastAPI, service: RecommendationService) -> None:
    page = Environment(autoescape=True).from_string(
        (resources.files("rere.serving.http") / "templates" / "page.html").read_text(encoding="utf-8")
    )

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        html = page.render(nonce=nonce, version=service.deployment.version)
        return HTMLResponse(html, headers={"content-security-policy": policy, "referrer-policy": "no-referrer"})

    @app.get("/health")
    async def health() -> State:
        """The process answers."""
        return State(status="ok", model_version=service.deployment.version)

    @app.get("/ready", responses={503: {"model": State, "description": "Shutting down"}})
    async def ready(response: Response) -> State:
        """The model takes requests."""
        up = service.engine.ready
        response.status_code = 200 if up else 503
        return State(status="ready" if up else "stopping", model_version=service.deployment.version)


def _routes(
    app: FastAPI, service: RecommendationService, config: ServingConfig, security: list[params.Depends]
) -> None:
    @app.get("/metrics", response_class=Response, responses=METRICS, dependencies=security)
    async def metrics() -> Response:
        """Prometheus's text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.post("/recommend", response_model=RecommendResponse, responses=ASK, dependencies=security)
    async def recommend(body: RecommendRequest, request: Request) -> Response:
        """The k best items after a history."""
        _limit("k", body.k, config.max_k)
        _limit("entries of history", len(body.history), config.max_history)
        _limit("entries of exclude", len(body.exclude), config.max_exclusions)
        seconds = None if body.deadline_ms is None else body.deadline_ms / 1000
        work = service.recommend(
            [str(entry) for entry in body.history],
            body.k,
            [str(entry) for entry in body.exclude],
            body.seen,
            seconds,
        )
        return _response(await _unless_gone(request, work))

    @app.get("/items", responses=READ, dependencies=security)
    async def items(
        query: Annotated[str, Query(min_length=1, max_length=100)],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
    ) -> FoundItems:
        """Items whose title contains `query`; those that begin with it first."""
        found = service.find(query, limit)
        return FoundItems(items=[FoundItem(item_id=item, title=title) for item, title in found])


def _catalogue_routes(app: FastAPI, service: RecommendationService, config: ServingConfig) -> None:
    @app.post("/catalog/add", responses=CHANGE, dependencies=BEARER)
    async def add(body: ItemsToAdd) -> Added:
        """Offer new items, or removed ones again, without retraining."""
        _limit("items", len(body.items), config.max_edits)
        items = {item.item_id: item.title for item in body.items}
        if len(items) < len(body.items):
            raise RereError("each item once", "an id that occurs again", "leave the repeats out")
        done = await service.add(items)
        return Added(new=done.new, restored=len(items) - done.new, **_kept(done))

    @app.post("/catalog/remove", responses=CHANGE, dependencies=BEARER)
    async def remove(body: ItemIds) -> Changed:
        """Never recommend these items again; requests that come after the answer don't see them."""
        _limit("item_ids", len(body.item_ids), config.max_edits)
        done = await service.remove(body.item_ids)
        return Changed(unknown=list(done.not_there), **_kept(done))

    @app.post("/catalog/restore", responses=CHANGE, dependencies=BEARER)
    async def restore(body: ItemIds) -> Changed:
        """Recommend removed items again."""
        _limit("item_ids", len(body.item_ids), config.max_edits)
        done = await service.restore(body.item_ids)
        return Changed(unknown=list(done.not_there), **_kept(done))


def _kept(change: CatalogChange) -> dict[str, Any]:
    return {"durable": not change.problem, "problem": _plain(change.problem)}


def _limit(what: str, got: int, most: int) -> None:
    if got > most:
        raise RereError(f"at most {most} {what}", str(got), "ask for less")


def _response(answer: Recommendation) -> Response:
    """A `RecommendResponse`, written without making a model of every item: that took longer than to write it."""
    ids, titles = answer.ranked.snapshot.ids, answer.ranked.snapshot.titles
    pairs = zip(answer.ranked.items, answer.ranked.scores, strict=True)
    content = {
        "model_version": answer.version,
        "items": [
            {"rank": rank, "item_id": ids[item], "title": titles[item], "score": score}
            for rank, (item, score) in enumerate(pairs, 1)
        ],
        "unknown": [{"entry": entry, "reason": reason} for entry, reason in answer.unknown],
    }
    return Response(json.dumps(content, ensure_ascii=False).encode(), media_type="application/json")


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away first."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # the body has been read: the next message is the end
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(400, "the client has gone")
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()


def _error_handlers(app: FastAPI) -> None:
    def problem(
        status: int, detail: str, problems: list[str] | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        return JSONResponse({"detail": detail, "problems": problems or []}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Where and why, never the input itself: it may be long, or no valid text.
        problems = [f"{'.'.join(map(_plain, each['loc']))}: {_plain(each['msg'])}" for each in error.errors()[:20]]
        if any(each["type"] == "json_invalid" for each in error.errors()):
            return problem(400, "the body is not JSON", problems)
        return problem(422, "the request does not fit the schema; see /docs", problems)

    @app.exception_handler(RereError)
    async def senseless(_: Request, error: RereError) -> Response:
        return problem(422, _plain(str(error)))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, _plain(str(error.detail)), headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:  # raised again afterwards: `Guard` logs it
        return problem(500, "the service failed; its log says why")

    @app.exception_handler(QueueFull)
    async def full(_: Request, __: QueueFull) -> Response:
        return problem(429, REASONS[429], headers={"retry-after": "1"})

    @app.exception_handler(DeadlinePassed)
    async def late(_: Request, __: DeadlinePassed) -> Response:
        return problem(408, REASONS[408])

    @app.exception_handler(EngineStopped)
    async def stopped(_: Request, __: EngineStopped) -> Response:
        return problem(503, REASONS[503], headers={"retry-after": "5"})


def _plain(text: object) -> str:
    """Text that UTF-8 can spell, whatever came in, and not too long."""
    return str(text).encode("utf-8", "backslashreplace").decode()[:300]
