"""uvicorn with limits on clients that are slow to speak or to listen, and a shutdown that lets open requests finish."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rere.serving.config import ServingConfig
from rere.serving.http.guard import App

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
SPARE = 64  # connections beyond the limit that may wait for their turn: probes come by them
OTHER_FILES = 256  # what else a process has open


def patient_protocol(seconds: float, most: int) -> type[H11Protocol]:
    """uvicorn's protocol, which by itself waits for ever for a request's head and for an answer to be read.

    Args:
        seconds: a client gets for its request's head, and for each part of an answer.
        most: open connections; when another comes, the one that has been silent longest is closed. uvicorn's own limit
            answers 503 instead, to the probes as well, and an orchestrator would kill a process that is only busy.
    """
    silent: dict[PatientProtocol, None] = {}  # without a request under way, longest first

    class PatientProtocol(H11Protocol):
        head: asyncio.TimerHandle | None = None
        listening: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait_for_head()
            silent[self] = None
            if len(self.connections) > most and (longest := next(iter(silent))) is not self:
                del silent[longest]
                longest.transport.abort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
                silent.pop(self, None)
            elif self.head is None and not self.transport.is_closing():
                self._wait_for_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                silent[self] = None

        def connection_lost(self, error: Exception | None) -> None:
            self._stop_waiting()
            silent.pop(self, None)
            if self.listening is not None:
                self.listening.cancel()
            super().connection_lost(error)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.listening = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            if self.listening is not None:
                self.listening.cancel()
                self.listening = None
            super().resume_writing()

        def _wait_for_head(self) -> None:
            self.head = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self.head is not None:
                self.head.cancel()
                self.head = None

    return PatientProtocol


def make_server(app: App, config: ServingConfig, host: str, port: int) -> uvicorn.Server:
    """A server to `run`; SIGTERM and SIGINT make it finish open requests and stop."""
    _allow_files(config.connections + SPARE + OTHER_FILES)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=patient_protocol(config.read_seconds, config.connections + SPARE),
            ws="none",
            lifespan="on",
            log_config=None,  # ours: rere/serving/http/logs.py
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(config.read_seconds) + 5,
            timeout_graceful_shutdown=config.drain_seconds,
        )
    )


def _allow_files(wanted: int) -> None:
    """Let the process have so many files open, which connections are; as many as it may, where that is fewer."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        logger.warning("%d files may be open, %d are wanted: lower `connections`, or raise `ulimit -n`", hard, wanted)
