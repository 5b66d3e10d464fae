"""uvicorn with limits on clients that are slow to speak, and a shutdown that lets open requests finish."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rere.serving.config import ServingConfig
from rere.serving.http.guard import App


def patient_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, which by itself waits for ever for a request's head, with a limit of `seconds` on it."""

    class PatientProtocol(H11Protocol):
        head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self.head is None and not self.transport.is_closing():
                self._wait_for_head()

        def connection_lost(self, error: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(error)

        def _wait_for_head(self) -> None:
            self.head = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self.head is not None:
                self.head.cancel()
                self.head = None

    return PatientProtocol


def make_server(app: App, config: ServingConfig, host: str, port: int) -> uvicorn.Server:
    """A server to `run`; SIGTERM and SIGINT make it finish open requests and stop."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=patient_protocol(config.read_seconds),
            ws="none",
            lifespan="on",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=config.connections,
            backlog=config.connections,
            timeout_keep_alive=int(config.read_seconds) + 5,
            timeout_graceful_shutdown=config.drain_seconds,
        )
    )
