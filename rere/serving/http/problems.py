"""Every refusal in one form: status, `detail`, and `problems` that say where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rere.errors import RereError
from rere.serving.engine.engine import EngineStopped, QueueFull
from rere.serving.engine.live_deployment import Conflict
from rere.serving.engine.service import DeadlinePassed, NothingKnown
from rere.serving.http.schemas import Problem

LONGEST = 1_000  # characters of a reason
REASONS = {
    400: "Not JSON, or for another host",
    401: "No bearer token, or a wrong one",
    403: "Changes of the catalogue are off",
    404: "The history names no item of the catalogue",
    408: "The deadline passed",
    409: "It doesn't fit the catalogue or the model at hand",
    413: "The body is too long",
    415: "The body is not said to be JSON: send Content-Type: application/json",
    422: "The request makes no sense; `problems` says where",
    429: "The queue is full: come back later",
    503: "Shutting down, or too many connections",
}
FAILED = "the service failed; its log says why"


class Refused(Exception):
    """A request that goes no further: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These refusals, for the OpenAPI document."""
    return {status: {"model": Problem, "description": REASONS[status]} for status in statuses}


def handle_errors(app: FastAPI) -> None:
    """Answer exceptions of the routes with a `Problem`."""

    def problem(
        status: int, detail: str, problems: list[str] | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        return JSONResponse({"detail": detail, "problems": problems or []}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Where and why, never the input itself: it may be long, or no valid text.
        problems = [f"{_place(each['loc'])}: {_message(each)}" for each in error.errors()[:20]]
        if any(each["type"] == "json_invalid" for each in error.errors()):
            return problem(400, "the body is not JSON", problems)
        return problem(422, "the request does not fit the schema; see /docs", problems)

    @app.exception_handler(RereError)
    async def senseless(_: Request, error: RereError) -> Response:
        status = 404 if isinstance(error, NothingKnown) else 409 if isinstance(error, Conflict) else 422
        return problem(status, plain(str(error)))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, plain(str(error.detail)), headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:  # raised again afterwards: `Guard` logs it
        return problem(500, FAILED)

    @app.exception_handler(QueueFull)
    async def full(_: Request, __: QueueFull) -> Response:
        return problem(429, REASONS[429], headers={"retry-after": "1"})

    @app.exception_handler(DeadlinePassed)
    async def late(_: Request, __: DeadlinePassed) -> Response:
        return problem(408, REASONS[408])

    @app.exception_handler(EngineStopped)
    async def stopped(_: Request, __: EngineStopped) -> Response:
        return problem(503, "shutting down", headers={"retry-after": "5"})


def _place(parts: Iterable[str | int]) -> str:
    """Field names and indices; not the kinds of text or number that were tried, which pydantic names as well."""
    return ".".join(plain(part) for part in parts if isinstance(part, int) or part.isidentifier())


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch":  # the pattern itself is no help
        return "should be one line with single spaces and nothing invisible, so please correct it"
    return plain(error["msg"])


def plain(text: object) -> str:
    """Text that UTF-8 can spell, whatever came in, and not too long; what is cut ends in three dots."""
    spelt = str(text).encode("utf-8", "backslashreplace").decode()
    return spelt if len(spelt) <= LONGEST else spelt[: LONGEST - 1] + "…"
