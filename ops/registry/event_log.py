"""The champion's log as it is kept: append-only, each entry chained to the one before by hash.

An entry is a tag `event.NUMBER.TIME` of the MLflow registered model; no tag is ever changed, and of two under one
number, written at once, the earlier counts. Each holds its own SHA-256 and that of the entry that it follows, so that
what somebody altered or removed by hand shows. It is told and stops nothing; only, where the last move of the champion
itself is in doubt, no registry is moved to it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient
from pydantic import BaseModel, ConfigDict, ValidationError

from ops.registry import mlflow_registry as registry
from rere.errors import RereError

PREFIX = "event."
MOVES = ("promote", "rollback")


class Overtaken(RereError):
    """Somebody else decided first: what was asked no longer fits, and nothing was done."""


class Event(BaseModel):
    """A move of the champion (promote, rollback), or a reviewer's word on a version (approve, reject).

    time: ISO 8601, UTC
    follows: the digest of the entry before; "" in the first one
    digest: SHA-256 of the entry's number and all the above; "" in entries that are older than the chain
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["promote", "rollback", "approve", "reject"]
    version: str
    previous: str | None
    who: str
    reason: str
    time: str
    follows: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Log:
    """entries: key -> event, oldest first; faults: key -> what is wrong with that entry, or with what is before it."""

    entries: dict[str, Event]
    faults: dict[str, str]

    @property
    def moves(self) -> list[Event]:
        """Those that made a version champion."""
        return [event for event in self.entries.values() if event.action in MOVES]

    @property
    def doubtful(self) -> bool:
        """Whether the last move, or an entry after it that may have been one, isn't as it was written."""
        last = max((key for key, event in self.entries.items() if event.action in MOVES), default="")
        return any(key >= last for key in self.faults)


def read_log(name: str) -> Log:
    """All of the log; none for a model that isn't registered."""
    tags = registry.model_tags(name)
    first: dict[str, str] = {}  # number -> key
    for key in sorted(tags):
        if key.startswith(PREFIX):
            first.setdefault(_number(key), key)
    entries, faults = dict[str, Event](), dict[str, str]()
    before, unread = "", False  # the digest of the last entry, and whether one after it couldn't be read
    for key in first.values():
        try:
            event = Event.model_validate_json(tags[key])
        except ValidationError:
            faults[key], unread = "is no entry, and left out", True
            continue
        if event.digest and event.digest != _digest(key, event):
            faults[key] = "was altered since it was written"
        elif event.follows != before and (event.digest or _chained(entries)) and not unread:
            faults[key] = "doesn't follow the one before it: an entry was removed, added or replaced by hand"
        entries[key] = event
        before, unread = event.digest or _digest(key, event), False
    return Log(entries, faults)


def append(name: str, action: str, version: str, previous: str | None, who: str, *, reason: str) -> tuple[str, Event]:
    """Write the next entry; returns its key, too.

    Raises:
        RereError: an empty reason.
        Overtaken: another machine wrote a moment earlier.
    """
    if not reason.strip():
        raise RereError("a reason for the log", "an empty one", "say why, for those who read it later")
    known = read_log(name).entries
    key = f"{PREFIX}{registry.last_number(registry.model_tags(name), PREFIX) + 1:06d}.{time.time_ns():020d}"
    last = next(reversed(known), None)
    event = Event.model_validate(
        {"action": action, "version": version, "previous": previous, "who": who, "reason": reason}
        | {"time": datetime.now(UTC).isoformat(timespec="seconds")}
        | {"follows": "" if last is None else known[last].digest or _digest(last, known[last])}
    )
    event = sealed(key, event)
    MlflowClient().set_registered_model_tag(name, key, event.model_dump_json())
    if key not in read_log(name).entries:  # the registry has no lock that machines share: look who came first
        raise Overtaken(
            f"nobody else to decide on {name} at this moment",
            "a decision that was written a moment earlier; this one doesn't count",
            "look at `rere versions`, then decide again",
        )
    return key, event


def sealed(key: str, event: Event) -> Event:
    """The entry with its digest, as it is written under that key."""
    return event.model_copy(update={"digest": _digest(key, event)})


def _number(key: str) -> str:
    return key.split(".")[1]


def _digest(key: str, event: Event) -> str:
    """Over the entry's number and what it says."""
    said = json.dumps([_number(key), event.model_dump(exclude={"digest"})], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _chained(entries: dict[str, Event]) -> bool:
    return any(event.digest for event in entries.values())


def user() -> str:
    """Who is asking, where nobody says; by number where the machine knows no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the former before Python 3.13
        return f"uid {os.getuid()}"
