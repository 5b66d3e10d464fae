"""Servers of this machine: a port for one, and whether it answers."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

HOST = "127.0.0.1"


def free_port() -> int:
    """A port on which nobody listens at the moment."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def answers(url: str) -> bool:
    """Whether somebody listens at the URL's host and port."""
    address = urlsplit(url)
    with socket.socket() as asked:
        return asked.connect_ex((address.hostname or "", address.port or 80)) == 0
