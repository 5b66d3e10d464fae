"""What stands before the routes: host, token, the size of a body and the time it takes to come; ids, counts, logs.

Plain ASGI, so that a body is refused while it comes, before anything reads it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from structlog.contextvars import bound_contextvars

from rere.serving.config import ServingConfig
from rere.serving.http.access import ADMIN, Tokens, require_host
from rere.serving.http.logs import WATCHED, log_access
from rere.serving.http.metrics import Metrics
from rere.serving.http.problems import FAILED, Refused

logger = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Guard:
    """Middleware around the routes.

    Args:
        paths: of the routes; others are counted as `other`, so that no client can make new series.
    """

    def __init__(
        self, app: App, config: ServingConfig, tokens: Tokens, metrics: Metrics, paths: Collection[str]
    ) -> None:
        self.app, self.config, self.tokens, self.metrics, self.paths = app, config, tokens, metrics, frozenset(paths)
        self._open = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        watched, started = _Watched(send, request_id), time.perf_counter()
        self._count_open(1)
        with bound_contextvars(request_id=request_id):
            try:
                await self._serve(scope, headers, receive, watched)
            finally:
                self._count_open(-1)
                if watched.status is not None:
                    self._report(scope, watched.status, time.perf_counter() - started)

    async def _serve(self, scope: Message, headers: dict[bytes, bytes], receive: Receive, watched: _Watched) -> None:
        path, read = scope["path"], False
        try:
            require_host(headers.get(b"host", b""), self.config.allowed_hosts or ("*",))
            if self._open > self.config.connections and path not in WATCHED:
                raise Refused(503, f"{self.config.connections} requests are open, the most that are taken")
            self.tokens.require(path, headers.get(b"authorization", b""))
            limit = self.config.edit_bytes if path.startswith(ADMIN) else self.config.body_bytes
            body = await self._body(headers, receive, limit)
            read = True
            # HEAD is GET; the server leaves the body out.
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await self.app({**scope, "method": method}, _replayed(body, receive), watched)
        except Refused as refusal:
            unread = not read and (headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers)
            await _answer(watched, refusal.status, refusal.reason, close=unread)
        except Exception:
            logger.exception("%s %s failed", scope["method"], self._route(path))
            if watched.status is None:
                await _answer(watched, 500, FAILED)

    def _count_open(self, more: int) -> None:
        self._open += more
        self.metrics.open.set(self._open)

    def _route(self, path: str) -> str:
        return path if path in self.paths else "other"

    def _report(self, scope: Message, status: int, seconds: float) -> None:
        route = self._route(scope["path"])
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.latency.labels(route).observe(seconds)
        if self.config.access_log == "requests":
            # As it was sent: no line break gets into the log. Without its query, which holds what a person typed.
            path = scope["raw_path"][:200].decode("latin-1")
            log_access(scope["method"], path, status, seconds, scope["client"][0] if scope.get("client") else "")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > limit:
            raise Refused(413, f"a body of at most {limit} bytes is taken")
        try:
            async with asyncio.timeout(self.config.read_seconds):  # unlike `wait_for`, no task of its own
                return await _read(receive, limit)
        except TimeoutError:
            raise Refused(408, f"the body did not come within {self.config.read_seconds:g} s") from None


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client has gone")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refused(413, f"a body of at most {limit} bytes is taken")
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body, then what the client does (that is, goes away)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Watched:
    """A `send` that remembers the status, names the request, and tells browsers not to guess at content types."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send, self.status = send, None
        self.own = [(b"x-content-type-options", b"nosniff"), (b"x-request-id", request_id.encode())]

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self.own]}
        await self.send(message)


async def _answer(send: Send, status: int, reason: str, close: bool = False) -> None:
    body = json.dumps({"detail": reason, "problems": []}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if close:  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
