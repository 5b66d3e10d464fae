"""The API: recommendations, finding items, changes of the catalogue.

Limits of the settings are part of the requests' schemas, so that the OpenAPI document tells them. Such classes are made
in the functions here; FastAPI must see them themselves, not their names, so annotations are not postponed in this file.
"""

import asyncio
import json
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.exceptions import HTTPException

from rere.serving.config import ServingConfig
from rere.serving.engine.live_deployment import CatalogChange, Conflict
from rere.serving.engine.service import Recommendation, RecommendationService
from rere.serving.http import schemas
from rere.serving.http.access import ADMIN_SCHEME
from rere.serving.http.problems import REASONS, documented, plain
from rere.serving.http.schemas import (
    Added,
    Changed,
    Entry,
    FoundItem,
    FoundItems,
    Name,
    NewItem,
    RecommendResponse,
    Whole,
)

T = TypeVar("T")


def _is_json(request: Request) -> None:
    """Refuse a body that is not said to be JSON: what a web form or a stray script sends without being asked."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        raise HTTPException(415, REASONS[415])


def use_routes(service: RecommendationService, config: ServingConfig) -> APIRouter:
    """What clients ask."""
    router = APIRouter()

    class RecommendRequest(schemas.RecommendRequest):
        history: list[Entry] = Field(
            max_length=config.max_history, description="item ids or exact titles, oldest first"
        )
        k: Annotated[int, Field(ge=1, le=config.max_k), Whole] = Field(default=10, description="items wanted")
        exclude: list[Entry] = Field(
            default=[], max_length=config.max_exclusions, description="ids or titles that must not be recommended"
        )

    @router.post(
        "/recommend",
        response_model=RecommendResponse,
        responses=documented(400, 401, 404, 408, 409, 413, 415, 422, 429, 503),
        dependencies=[Depends(_is_json)],
    )
    async def recommend(body: RecommendRequest, request: Request) -> Response:
        """The k best items after a history."""
        seconds = None if body.deadline_ms is None else body.deadline_ms / 1000
        work = service.recommend(
            [str(entry) for entry in body.history],
            body.k,
            [str(entry) for entry in body.exclude],
            body.seen,
            seconds,
        )
        return _response(await _unless_gone(request, work))

    @router.get("/items", responses=documented(400, 401, 413, 422, 503))
    async def items(
        query: Annotated[str, Query(max_length=100, description="part of a title, accents and case aside")] = "",
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
    ) -> FoundItems:
        """Items whose title contains `query`, those that begin with it first; without one, the catalogue's first."""
        found = service.find(query, limit)
        return FoundItems(items=[FoundItem(item_id=item, title=title) for item, title in found])

    return router


def catalogue_routes(service: RecommendationService, config: ServingConfig) -> APIRouter:
    """Changes of the catalogue, for those who have the admin token."""
    router = APIRouter(
        prefix="/catalog",
        dependencies=[Depends(ADMIN_SCHEME), Depends(_is_json)],
        responses=documented(400, 401, 403, 408, 413, 415, 422, 503),
    )

    class ItemsToAdd(schemas.Body):
        items: list[NewItem] = Field(min_length=1, max_length=config.max_edits)

    class ItemIds(schemas.Body):
        item_ids: list[Name] = Field(min_length=1, max_length=config.max_edits)

    @router.post("/add", responses=documented(409))
    async def add(body: ItemsToAdd) -> Added:
        """Offer new items, or removed ones again, without retraining."""
        items: dict[str, str] = {}
        for item in body.items:
            if items.setdefault(item.item_id, item.title) != item.title:
                raise Conflict("one title for each id", f"two for {item.item_id!r}", "leave one out")
        done = await service.live.add(items)
        return Added(new=done.new, restored=len(items) - done.new, **_kept(done))

    @router.post("/remove")
    async def remove(body: ItemIds) -> Changed:
        """Never recommend these items again; requests that come after the answer don't see them."""
        done = await service.live.remove(body.item_ids)
        return Changed(unknown=list(done.not_there), **_kept(done))

    @router.post("/restore")
    async def restore(body: ItemIds) -> Changed:
        """Recommend removed items again."""
        done = await service.live.restore(body.item_ids)
        return Changed(unknown=list(done.not_there), **_kept(done))

    return router


def _kept(change: CatalogChange) -> dict[str, Any]:
    return {"durable": not change.problem, "problem": plain(change.problem)}


def _response(answer: Recommendation) -> Response:
    """A `RecommendResponse`, written without making a model of every item: that took longer than to write it."""
    ids, titles = answer.ranked.snapshot.ids, answer.ranked.snapshot.titles
    pairs = zip(answer.ranked.items, answer.ranked.scores, strict=True)
    content = {
        "model_version": answer.version,
        "based_on": answer.ranked.based_on,
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
