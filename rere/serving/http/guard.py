"""What stands before the routes: the token, the size of a body, the time it takes to come, and what is counted.

Plain ASGI, so that a body is refused while it comes, before anything reads it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rere.serving.config import ServingConfig
from rere.serving.http.metrics import Metrics

logger = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/", "/health", "/ready", "/docs", "/openapi.json")  # without a token: nothing of the catalogue
ADMIN = "/catalog/"
ROUTES = (*OPEN, "/metrics", "/recommend", "/items", "/catalog/add", "/catalog/remove", "/catalog/restore")


@dataclass(frozen=True)
class Tokens:
    """Bearer tokens. use: for all but the open routes, None: anybody may; admin: for /catalog/, None: nobody may."""

    use: str | None = None
    admin: str | None = None


class Refused(Exception):
    """A request that goes no further: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """Middleware around the routes."""

    def __init__(self, app: App, config: ServingConfig, tokens: Tokens, metrics: Metrics) -> None:
        self.app, self.config, self.tokens, self.metrics = app, config, tokens, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in ROUTES else "other"
        watched, started = _Watched(send), time.perf_counter()
        try:
            self._authorise(scope)
            limit = self.config.edit_bytes if scope["path"].startswith(ADMIN) else self.config.body_bytes
            body = await self._body(scope, receive, limit)
            await self.app(scope, _replayed(body, receive), watched)
        except Refused as refusal:
            await _answer(watched, refusal.status, refusal.reason)
        except Exception:
            logger.exception("%s %s failed", scope["method"], route)
            if watched.status is None:
                await _answer(watched, 500, "the service failed; its log says why")
        finally:
            if watched.status is not None:
                self.metrics.requests.labels(route, str(watched.status)).inc()
                self.metrics.latency.labels(route).observe(time.perf_counter() - started)

    def _authorise(self, scope: Message) -> None:
        path = scope["path"]
        if path in OPEN:
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if path.startswith(ADMIN):
            if self.tokens.admin is None:
                raise Refused(403, "changes of the catalogue are off: start the service with RERE_ADMIN_TOKEN set")
            wanted = self.tokens.admin
        elif self.tokens.use is None:
            return
        else:
            wanted = self.tokens.use
        if not hmac.compare_digest(given, b"Bearer " + wanted.encode()):
            raise Refused(401, "a bearer token is needed: Authorization: Bearer <token>")

    async def _body(self, scope: Message, receive: Receive, limit: int) -> bytes:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > limit:
            raise Refused(413, f"a body of at most {limit} bytes is taken")
        try:
            async with asyncio.timeout(self.config.read_seconds):  # unlike `wait_for`, no task of its own
                return await _read(receive, limit)
        except TimeoutError:
            raise Refused(408, f"the body did not come within {self.config.read_seconds:g} s") from None


async def _read(receive: Receive, limit: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client has gone")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refused(413, f"a body of at most {limit} bytes is taken")
        if not message.get("more_body", False):
            return body


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
    """A `send` that remembers the status, and tells browsers not to guess at content types."""

    def __init__(self, send: Send) -> None:
        self.send, self.status = send, None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": headers}
        await self.send(message)


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason, "problems": []}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413):  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
