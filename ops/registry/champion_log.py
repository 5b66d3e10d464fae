"""Who is champion: one append-only log, and two registries that follow it.

What people and gates decide is first written to the log (tags `event.NUMBER.TIME` of the MLflow registered model; no
tag is ever changed, and of two under one number, written at once, the earlier counts), and copied to the ZenML Model
version's metadata; a move is then done in MLflow (the alias), then in ZenML (the stage). A crash in between leaves a
log that is ahead of the registries, which `repair` brings up to it; every run and every command that decides something
repairs first, and says so. Commands that only show something change nothing: they say what `disagreements` finds.
"""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from pydantic import BaseModel, ConfigDict, ValidationError
from zenml.client import Client
from zenml.enums import ModelStages
from zenml.utils.metadata_utils import log_metadata

from ops.registry import mlflow_registry as registry
from ops.registry.zenml_registry import metadata_of
from rere.artifacts.manifest import writing
from rere.errors import RereError
from rere.project import file_name, project_root

PREFIX = "event."
LOCKS = "RERE_LOCK_DIR"  # environment variable; default: .rere/locks in the project


class Event(BaseModel):
    """A move of the champion (promote, rollback), or a reviewer's word on a version (approve, reject)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["promote", "rollback", "approve", "reject"]
    version: str
    previous: str | None
    who: str
    reason: str
    time: str  # ISO 8601, UTC


def events(name: str) -> list[Event]:
    """All of the log, oldest first; none for a model that isn't registered."""
    return list(_log(name).values())


def move(
    name: str, version: str, who: str, reason: str, expected: str | None = None, *, action: str = "promote"
) -> Event | None:
    """Make a version champion in both registries; None when it is already.

    Args:
        who: reviewer, or what moved it (the gate).
        expected: the champion that the decision was made against, "" for none; None asks nothing.

    Raises:
        RereError: no such version, another champion than expected, or another move under way on this machine.
    """
    with _alone(name):
        repair(name)
        _require_in_both(name, version)
        present = registry.champion_version(name)
        if expected is not None and (present or "") != expected:
            raise RereError(
                f"{_named(expected)} as the champion of {name}, against which version {version} was judged",
                _named(present or ""),
                "somebody else promoted meanwhile: judge it again against the new champion",
            )
        if present == version:
            return None
        event = _append(name, action, version, present, who, reason=reason)
        _follow(name, event)
        return event


def decide(name: str, version: str, action: Literal["approve", "reject"], who: str, reason: str) -> Event:
    """Write a reviewer's word to the log; moves nothing. RereError without such a version."""
    with _alone(name):
        repair(name)
        _require_in_both(name, version)
        return _append(name, action, version, registry.champion_version(name), who, reason=reason)


def withdrawn(name: str, version: str) -> Event | None:
    """The event by which people turned this version down, when that is the last word on it; else None.

    A rejection, or a rollback away from it: no run may make it champion again by itself.
    """
    for event in reversed(events(name)):
        if event.action == "rollback" and event.previous == version:
            return event
        if event.version == version:
            return event if event.action == "reject" else None
    return None


def roll_back(name: str, who: str, reason: str) -> Event:
    """Make the champion before the present one champion again.

    Raises:
        RereError: there was none, or it is gone.
    """
    repair(name)
    moves = _moves(name)
    held = registry.champion_version(name)
    present = held or (moves[-1].version if moves else None)  # the log remembers a champion that was deleted
    before = _earlier(name, moves, present)
    if present is None or before is None:
        raise RereError(
            f"an earlier champion of {name}",
            "none" if present is None else f"version {present} is the first",
            "promote a version by `rere promote`; `rere versions` lists them",
        )
    event = move(name, before, who, reason, expected=held or "", action="rollback")
    assert event is not None  # `before` isn't `present`
    return event


def lost_champion(name: str) -> str | None:
    """The champion by the log, where that version was deleted in MLflow: nothing is known to be better than it."""
    moves = _moves(name)
    return None if not moves or moves[-1].version in registry.version_numbers(name) else moves[-1].version


def disagreements(name: str) -> list[str]:
    """What differs from the log in the registries, a sentence each; changes nothing."""
    moves = _moves(name)
    if not moves:
        return []
    version = moves[-1].version
    if version not in registry.version_numbers(name):
        return [
            f"Version {version} of {name}, the champion by the log, was deleted in MLflow: nothing is moved. "
            "`rere rollback` goes back to the champion before it, `rere promote` names another."
        ]
    found, held = [], registry.champion_version(name)
    if held != version:
        said = f"The alias `champion` of {name} names {_named(held or '')}, but the log says version {version}"
        remedy = f"; if version {held} should be champion: `rere promote {held}`" if held else ""
        found.append(f"{said}, which counts{remedy}.")
    if _in_zenml(name, version) and (staged := _stage_version(name)) != version:
        said = f"ZenML's stage `production` of {name} is {_named(staged or '')}'s"
        found.append(f"{said}, but the log says version {version}, which counts.")
    return found


def repair(name: str) -> bool:
    """Bring both registries up to the log, with a warning of what differed; True when something was behind."""
    missing = {key: event for key, event in _log(name).items() if not _copied(name, key, event)}
    for key, event in missing.items():
        _copy(name, key, event)
    found, lost = disagreements(name), lost_champion(name)
    for said in found:
        logging.getLogger(__name__).warning("%s%s", said, "" if lost else " It is set to that now.")
    if found and lost is None:
        _follow(name, _moves(name)[-1])
    return bool(missing) or (bool(found) and lost is None)


def _earlier(name: str, moves: list[Event], version: str | None) -> str | None:
    """The nearest champion before `version` that is still registered; None where there is none."""
    there, passed = registry.version_numbers(name), set[str]()
    while version is not None and version not in passed:
        passed.add(version)
        version = next((event.previous for event in reversed(moves) if event.version == version), None)
        if version in there:
            return version
        if version is not None:
            logging.getLogger(__name__).warning("Version %s of %s was deleted in MLflow: passed over.", version, name)
    return None


def _require_in_both(name: str, version: str) -> None:
    """RereError for a version that one registry lacks: what the log says, both must be able to follow."""
    registry.get(name, version)
    if not _in_zenml(name, version):
        raise RereError(
            f"version {version} of {name} in MLflow and in ZenML",
            "none in ZenML: its registration was cut short, or it was deleted there",
            "run the pipeline again, which completes a registration; or choose another version",
        )


def _moves(name: str) -> list[Event]:
    return [event for event in events(name) if event.action in ("promote", "rollback")]


def _log(name: str) -> dict[str, Event]:
    """Key -> event, oldest first."""
    tags = registry.model_tags(name)
    first: dict[str, str] = {}  # number -> key
    for key in sorted(tags):
        if key.startswith(PREFIX):
            first.setdefault(key.split(".")[1], key)
    found: dict[str, Event] = {}
    for key in first.values():
        try:
            found[key] = Event.model_validate_json(tags[key])
        except ValidationError:
            logging.getLogger(__name__).warning("The log of %s has an entry that is none, left out: %s.", name, key)
    return found


def _append(name: str, action: str, version: str, previous: str | None, who: str, *, reason: str) -> Event:
    if not reason.strip():
        raise RereError("a reason for the log", "an empty one", "say why, for those who read it later")
    event = Event.model_validate(
        {"action": action, "version": version, "previous": previous, "who": who, "reason": reason}
        | {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    )
    key = f"{PREFIX}{registry.last_number(registry.model_tags(name), PREFIX) + 1:06d}.{time.time_ns():020d}"
    MlflowClient().set_registered_model_tag(name, key, event.model_dump_json())
    if key not in _log(name):  # the registry has no lock that machines share: look who came first
        raise RereError(
            f"nobody else to decide on {name} at this moment",
            "a decision that was written a moment earlier; this one doesn't count",
            "look at `rere versions`, then decide again",
        )
    _copy(name, key, event)
    return event


def _copy(name: str, key: str, event: Event) -> None:
    log_metadata(metadata={key: event.model_dump_json()}, model_name=name, model_version=f"v{event.version}")


def _in_zenml(name: str, version: str) -> bool:
    return bool(metadata_of(name, version))


def _copied(name: str, key: str, event: Event) -> bool:
    found = metadata_of(name, event.version)
    return not found or key in found  # a version deleted in ZenML takes no copy


def _named(version: str) -> str:
    return f"version {version}" if version else "no version"


def _follow(name: str, event: Event) -> None:
    registry.set_alias(name, registry.CHAMPION, event.version)
    if _in_zenml(name, event.version):
        _set_stage(name, event.version)
    else:  # nobody may be kept from rolling back by a version that somebody deleted
        logging.getLogger(__name__).warning("%s %s is gone from ZenML, so its stage isn't set.", name, event.version)


def _set_stage(name: str, version: str) -> None:
    Client().update_model_version(name, f"v{version}", stage=ModelStages.PRODUCTION, force=True)


def _stage_version(name: str) -> str | None:
    """The version in ZenML's stage `production`, if any."""
    try:
        found = Client().get_model_version(name, ModelStages.PRODUCTION)
    except KeyError:
        return None
    return str(found.name).removeprefix("v")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One move at a time on this machine; across machines, the log tells who came first."""
    place = Path(os.environ.get(LOCKS) or project_root() / ".rere" / "locks")
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    with (place / f"{file_name(name)}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RereError(
                f"no other move of {name}'s champion", "one that is under way", "wait for it, then look again"
            ) from None
        yield


def user() -> str:
    """Who is asking, where nobody says; by number where the machine knows no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the former before Python 3.13
        return f"uid {os.getuid()}"
