"""The service's logs on standard error, for people or as one JSON object per line; requests have an id."""

from __future__ import annotations

import logging.config
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

LogFormat = Literal["text", "json"]
WATCHED = ("/health", "/ready", "/metrics")  # asked every few seconds by machines

access_logger = logging.getLogger("rere.access")


def set_up_logging(form: LogFormat) -> None:
    """Send everything that the standard library's loggers get, uvicorn's too, to standard error in one form."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
        ]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
            "root": {"level": "INFO", "handlers": ["stderr"]},
        }
    )


def _without_colours(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """uvicorn brings each of its messages a second time, coloured."""
    event.pop("color_message", None)
    return event


def log_access(method: str, path: str, status: int, seconds: float, client: str) -> None:
    """One line for each answer; of those to probes and Prometheus, only failures."""
    if path in WATCHED and status < 400:
        return
    facts = {"method": method, "path": path, "status": status, "ms": round(1000 * seconds, 1), "client": client}
    access_logger.info("%s %s %d", method, path, status, extra=facts)
