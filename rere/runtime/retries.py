"""Try again where a network or a server failed for a moment; never where the answer won't change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
WAITS = (2.0, 8.0)  # seconds before the second and the third try
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
# Names, since each library has classes of its own: aiohttp (fsspec), httpx and requests (huggingface_hub), botocore.
PASSING = frozenset(
    {"ClientConnectionError", "ClientPayloadError", "TransportError", "RequestException", "IncompleteRead"}
    | {"ConnectionError", "TimeoutError", "FSTimeoutError", "HTTPClientError", "IncompleteReadError"}
)
# No such name, nobody there, no URL: that is so in ten seconds, too.
FINAL = frozenset(
    {"gaierror", "ConnectionRefusedError", "ConnectError", "ClientConnectorError", "NewConnectionError"}
    | {"EndpointConnectionError", "UnsupportedProtocol", "OfflineModeIsEnabled"}
)


def with_retries(fetch: Callable[[], T], what: str) -> T:
    """What `fetch` gives, tried again after failures that pass; each is told in a line of the log.

    Args:
        what: is fetched, for the line.

    Raises:
        Exception: that of `fetch`: the last of failures that pass, or the first that doesn't.
    """
    for wait in WAITS:
        try:
            return fetch()
        except Exception as error:
            if not passes(error):
                raise
            said = " ".join(str(error).split())[:200] or type(error).__name__
            logging.getLogger(__name__).warning("%s: %s. Another try in %.0f s.", what, said, wait)
        time.sleep(wait)
    return fetch()


def passes(error: BaseException) -> bool:
    """Whether another try may succeed: a broken connection, a time limit, a server that is busy or fails.

    An answer with a status says it by that. Where nobody answers at all, nothing is tried again.
    """
    if (status := status_of(error)) is not None:
        return status in PASSING_STATUS
    names = {name for cause in causes(error) for name in _names(cause)}
    return not names & FINAL and bool(names & PASSING)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error, or what caused it, came with; None without one."""
    for cause in causes(error):
        answer = getattr(cause, "response", None)
        if isinstance(answer, dict):  # botocore
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(cause, "status", None) or getattr(answer, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
