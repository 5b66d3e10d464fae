"""Who is champion: one append-only log, and two registries that follow it.

A move is first written to the log (tags `event.000001`, `event.000002`, ... of the MLflow registered model; no tag is
ever changed), then done in MLflow (the alias), then in ZenML (the stage). A crash in between leaves a log that is ahead
of the registries, which `repair` brings up to it; every command and every run repairs first.
"""

from __future__ import annotations

import fcntl
import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from pydantic import BaseModel, ConfigDict
from zenml.client import Client
from zenml.enums import ModelStages

from rere.errors import RereError
from steps import registry

PREFIX = "event."
LOCKS = "RERE_LOCK_DIR"  # environment variable; default: .rere/locks


class Event(BaseModel):
    """A move of the champion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["promote", "rollback"]
    version: str
    previous: str | None
    who: str
    reason: str
    time: str  # ISO 8601, UTC


def events(name: str) -> list[Event]:
    """All moves, oldest first; none for a model that isn't registered."""
    found = MlflowClient().search_registered_models(f"name='{name}'")
    tags = found[0].tags if found else {}
    return [Event.model_validate_json(tags[key]) for key in sorted(tags) if key.startswith(PREFIX)]


def move(
    name: str, version: str, who: str, reason: str, expected: str | None = None, action: str = "promote"
) -> Event | None:
    """Make a version champion in both registries; None when it is already.

    Args:
        who: reviewer, or what moved it (the gate).
        expected: the champion that the decision was made against; None asks nothing.

    Raises:
        RereError: no such version, another champion than expected, or another move under way on this machine.
    """
    with _alone(name):
        repair(name)
        _require(name, version)
        present = registry.champion_version(name)
        if expected is not None and present != expected:
            raise RereError(
                f"version {expected} as the champion of {name}, against which version {version} was judged",
                f"version {present}",
                "somebody else promoted meanwhile: judge it again against the new champion",
            )
        if present == version:
            return None
        event = Event.model_validate(
            {"action": action, "version": version, "previous": present, "who": who, "reason": reason}
            | {"time": datetime.now(UTC).isoformat(timespec="seconds")}
        )
        _append(name, event)
        _follow(name, event)
        return event


def roll_back(name: str, who: str, reason: str) -> Event:
    """Make the champion before the present one champion again.

    Raises:
        RereError: there was none, or it is gone.
    """
    repair(name)
    present = registry.champion_version(name)
    before = next((event.previous for event in reversed(events(name)) if event.version == present), None)
    if present is None or before is None:
        raise RereError(
            f"an earlier champion of {name}",
            "none" if present is None else f"version {present} is the first",
            "promote a version by `rere promote`; `rere versions` lists them",
        )
    event = move(name, before, who, reason, expected=present, action="rollback")
    assert event is not None  # `before` isn't `present`
    return event


def repair(name: str) -> bool:
    """Bring both registries up to the log's last move; True when something was behind."""
    log = events(name)
    if not log:
        return False
    last = log[-1]
    behind = registry.champion_version(name) != last.version or _stage_version(name) != last.version
    if behind:
        _follow(name, last)
    return behind


def _append(name: str, event: Event) -> None:
    key = f"{PREFIX}{len(events(name)) + 1:06d}"
    MlflowClient().set_registered_model_tag(name, key, event.model_dump_json())


def _follow(name: str, event: Event) -> None:
    registry.set_alias(name, registry.CHAMPION, event.version)
    _set_stage(name, event.version)


def _set_stage(name: str, version: str) -> None:
    Client().update_model_version(name, f"v{version}", stage=ModelStages.PRODUCTION, force=True)


def _stage_version(name: str) -> str | None:
    """The version in ZenML's stage `production`, if any."""
    try:
        found = Client().get_model_version(name, ModelStages.PRODUCTION)
    except KeyError:
        return None
    return str(found.name).removeprefix("v")


def _require(name: str, version: str) -> None:
    known = sorted((int(v.version) for v in MlflowClient().search_model_versions(f"name='{name}'")), reverse=True)
    if version not in map(str, known):
        raise RereError(
            f"a registered version of {name}: {', '.join(map(str, known)) or 'there is none'}", version, "correct it"
        )


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One move at a time on this machine; across machines the `expected` champion is what protects."""
    place = Path(os.environ.get(LOCKS, ".rere/locks"))
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RereError(
                f"no other move of {name}'s champion", "one that is under way", "wait for it, then look again"
            ) from None
        yield


def user() -> str:
    """Who is asking, where nobody says."""
    return getpass.getuser()
