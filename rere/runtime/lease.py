"""A lock on a name that dies with its holder, also on a volume that machines share.

Over `filelock`'s lease: its file is refreshed while the holder lives, so a killed holder's is free at once on its own
machine, and after `SECONDS` without a sign of life where the holder is on another one. No lock of the operating system
is needed, which not every shared volume has.
"""

from __future__ import annotations

import _thread
import getpass
import json
import logging
import os
import platform
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import SoftFileLease, Timeout
from pydantic import BaseModel, ConfigDict

SECONDS = 120.0  # without a sign of life, until another machine's holder counts as gone
BEATS = 20.0  # seconds between signs of life
logger = logging.getLogger(__name__)


class Holder(BaseModel):
    """Who holds a lease."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    process: int
    user: str
    since: float  # seconds since 1970

    @classmethod
    def me(cls) -> Holder:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a user id without a name
            user = str(os.getuid())
        return cls(machine=platform.node(), process=os.getpid(), user=user, since=time.time())

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.process} of {self.user} on {self.machine}, since {since}"


class Held(Exception):
    """Somebody else holds it; `holder` is None where that can't be read."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(f"held by {holder or 'another process'}")
        self.holder = holder


class Lease:
    """The lease at `path` (a file of that name, and one that says who holds it), free until `take`."""

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self.path, self.seconds = path, seconds
        self.says = path.with_name(f"{path.name}.holder")
        self._lease = SoftFileLease(
            path,
            lease_duration=seconds,
            heartbeat_interval=min(BEATS, seconds / 4),
            on_compromise=self._lost,
            thread_local=False,
        )

    def take(self) -> None:
        """Hold it until `release`, or until this process ends.

        A holder on this machine is known to live or not. For one on another machine it takes up to `seconds` to see.

        Raises:
            Held: the holder lives.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lease.acquire(timeout=0)
        except Timeout:
            holder = self.holder()
            if holder is not None and holder.machine == platform.node():
                raise Held(holder) from None
            logger.warning("%s is held by %s: waiting to see whether it lives.", self.path, holder or "another process")
            try:
                self._lease.acquire(timeout=self.seconds * 1.25, poll_interval=min(1.0, self.seconds / 10))
            except Timeout:
                raise Held(self.holder()) from None
        fresh = self.says.with_name(f"{self.says.name}.{os.getpid()}")
        fresh.write_text(Holder.me().model_dump_json() + "\n", encoding="utf-8")
        fresh.replace(self.says)

    def release(self) -> None:
        """Give it back; nothing of it is left."""
        if self._lease.is_locked:
            self.says.unlink(missing_ok=True)
            self._lease.release()

    def holder(self) -> Holder | None:
        """Who took it last; None where nobody is known."""
        with suppress(OSError, ValueError):
            return Holder.model_validate(json.loads(self.says.read_text(encoding="utf-8")))
        return None

    def _lost(self, compromise: object) -> None:
        """Called from the thread that beats: another process may have taken over, so this one must stop."""
        logger.error("This process gave no sign of life for too long and lost %s to another one: it stops.", self.path)
        _thread.interrupt_main()
