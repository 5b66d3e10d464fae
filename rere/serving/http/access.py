"""Who may ask what: tokens by path, and which hosts the service answers for.

`Guard` applies this before a body is read. A FastAPI dependency would come after it: FastAPI reads and parses a body
first, and a stranger's 8 MiB would be parsed before they are refused.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi.security import HTTPBearer

from rere.errors import RereError
from rere.serving.http.problems import Refused

OPEN = ("/", "/health", "/ready", "/docs")  # without a token: nothing of the catalogue; /docs asks for it itself
ADMIN = "/catalog/"
LOCAL = ("localhost", "127.0.0.1", "[::1]")

# For the OpenAPI document only: what is checked is below.
USE_SCHEME = HTTPBearer(scheme_name="Token", description="RERE_SERVE_TOKEN, where it is set", auto_error=False)
ADMIN_SCHEME = HTTPBearer(scheme_name="Admin token", description="RERE_ADMIN_TOKEN", auto_error=False)


@dataclass(frozen=True)
class Tokens:
    """Bearer tokens. use: for all but the open paths, None: anybody may; admin: for /catalog/, None: nobody may."""

    use: str | None = None
    admin: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Tokens:
        """RERE_SERVE_TOKEN and RERE_ADMIN_TOKEN, without the line break that a file of secrets often ends with.

        Raises:
            RereError: a token that a header can't carry.
        """
        found = {name: environment.get(name, "").strip() for name in ("RERE_SERVE_TOKEN", "RERE_ADMIN_TOKEN")}
        for name, token in found.items():
            if not re.fullmatch("[\x21-\x7e]*", token):
                raise RereError(f"printable ASCII without spaces in {name}", "something else", "choose another token")
        return cls(found["RERE_SERVE_TOKEN"] or None, found["RERE_ADMIN_TOKEN"] or None)

    def require(self, path: str, authorization: bytes) -> None:
        """Raises `Refused` unless the header's value opens the path."""
        if path in OPEN or path.startswith("/docs/"):
            return
        if path.startswith(ADMIN):
            if self.admin is None:
                raise Refused(403, "changes of the catalogue are off: start the service with RERE_ADMIN_TOKEN set")
            wanted = self.admin
        elif self.use is None:
            return
        else:
            wanted = self.use
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), wanted.encode()):
            raise Refused(401, "a bearer token is needed: Authorization: Bearer <token>")


def default_hosts(address: str) -> tuple[str, ...]:
    """Hosts to answer for when none are named: on a loopback address its own names, else any.

    A web page elsewhere can point a name of its own at 127.0.0.1, and would read the answers in a visitor's browser.
    """
    try:
        local = ipaddress.ip_address(address).is_loopback
    except ValueError:
        local = address == "localhost"
    return LOCAL if local else ("*",)


def require_host(header: bytes, allowed: Sequence[str]) -> None:
    """Raises `Refused` unless the Host header, without its port, is allowed: a name, `*.example.com`, or `*`."""
    if "*" in allowed:
        return
    host = header.decode("latin-1").lower()
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        host = name
    if not any(host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in map(str.lower, allowed)):
        raise Refused(400, "the Host header names no host of this service: see `allowed_hosts` in its settings")
