"""Signals that ask a process to end become an exception, so that it ends with a message and not with a trace."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and how machines ask: kill, timeout, systemd, a container's end


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within it every signal that asks this process to end is a KeyboardInterrupt with the signal's number.

    ZenML calls the handler that was there before its own: without one its exception comes out, with two traces. A shell
    starts what runs in its background without one for Ctrl-C, too. Signals belong to the main thread.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
