"""Who is champion: one append-only log, and two registries that follow it.

What people and gates decide is first written to the log (`event_log`), and copied to the ZenML Model version's
metadata; a move is then done in MLflow (the alias), then in ZenML (the stage). A crash in between leaves a log that is
ahead of the registries, which `repair` brings up to it; every run and every command that decides something repairs
first, and says so. Commands that only show something change nothing: they say what `disagreements` finds.
"""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from zenml.client import Client
from zenml.enums import ModelStages
from zenml.utils.metadata_utils import log_metadata

from ops.registry import event_log
from ops.registry import mlflow_registry as registry
from ops.registry.event_log import Event, Overtaken, read_log
from ops.registry.zenml_registry import metadata_of
from rere.artifacts.manifest import writing
from rere.errors import RereError
from rere.project import file_name, project_root

LOCKS = "RERE_LOCK_DIR"  # environment variable; default: .rere/locks in the project


def events(name: str) -> list[Event]:
    """All of the log, oldest first; none for a model that isn't registered."""
    return list(read_log(name).entries.values())


def move(
    name: str, version: str, who: str, reason: str, expected: str | None = None, *, action: str = "promote"
) -> Event | None:
    """Make a version champion in both registries; None when it is already.

    Args:
        who: reviewer, or what moved it (the gate).
        expected: the champion that the decision was made against, "" for none; None asks nothing.

    Raises:
        Overtaken: another champion than expected, or a decision written a moment earlier on another machine.
        RereError: no such version, or another move under way on this machine.
    """
    with _alone(name):
        repair(name)
        _require_in_both(name, version)
        present = registry.champion_version(name)
        if expected is not None and (present or "") != expected:
            raise Overtaken(
                f"{_named(expected)} as the champion of {name}, against which version {version} was judged",
                _named(present or ""),
                "somebody else promoted meanwhile, or deleted it: run again, which judges against today's champion",
            )
        if present == version and not read_log(name).doubtful:
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
    """Make the champion before the present one champion again; once more goes one further back.

    Raises:
        RereError: there was none, or none that is still registered.
    """
    repair(name)
    held, there = registry.champion_version(name), registry.version_numbers(name)
    line = _line(name)
    if held is not None and line[-1:] != [held]:  # the log is in doubt, and nothing was moved to it
        line = [*(version for version in line if version != held), held]
    earlier, present = line[:-1], line[-1] if line else None
    before = next((version for version in reversed(earlier) if version in there), None)
    if present is None or before is None:
        raise RereError(
            f"an earlier champion of {name}",
            _nothing_before(present, earlier, present in there),
            "promote a version by `rere promote`; `rere versions` lists them",
        )
    for version in earlier[earlier.index(before) + 1 :]:
        logging.getLogger(__name__).warning("Version %s of %s was deleted in MLflow: passed over.", version, name)
    event = move(name, before, who, reason, expected=held or "", action="rollback")
    assert event is not None  # `before` isn't `present`
    return event


def _line(name: str) -> list[str]:
    """The champions from the first to the present one; what was rolled back from isn't part of it any more."""
    line: list[str] = []
    for event in read_log(name).moves:
        if event.action == "rollback" and event.version in line:
            del line[line.index(event.version) :]
        line = [version for version in line if version != event.version]
        line.append(event.version)
    return line


def _nothing_before(present: str | None, earlier: list[str], registered: bool) -> str:
    if present is None:
        return "none: no version was ever champion"
    gone = "" if registered else ", which was deleted in MLflow"
    if not earlier:
        return f"version {present}, the first champion{gone}"
    return f"version {present}{gone}, and all before it were deleted: {', '.join(earlier)}"


def lost_champion(name: str) -> str | None:
    """The champion by the log, where that version was deleted in MLflow: nothing is known to be better than it."""
    moves = read_log(name).moves
    return None if not moves or moves[-1].version in registry.version_numbers(name) else moves[-1].version


def disagreements(name: str) -> list[str]:
    """What is wrong with the log, and what differs from it in the registries, a sentence each; changes nothing."""
    return [*_faults(name), *_differences(name)]


def repair(name: str) -> bool:
    """Bring both registries up to the log, with a warning of what differed; True when something was behind.

    Where the log's last move was altered or can't be read, nothing is moved.
    """
    log = read_log(name)
    missing = {key: event for key, event in log.entries.items() if not _copied(name, key, event)}
    for key, event in missing.items():
        _copy(name, key, event)
    found = _differences(name)
    moves = bool(found) and lost_champion(name) is None and not log.doubtful
    for said in _faults(name):
        logging.getLogger(__name__).warning("%s", said)
    for said in found:
        logging.getLogger(__name__).warning("%s%s", said, " It is set to that now." if moves else "")
    if moves:
        _follow(name, log.moves[-1])
    return bool(missing) or moves


def _faults(name: str) -> list[str]:
    log = read_log(name)
    said = [f"The log of {name}: the entry {key} {fault}." for key, fault in log.faults.items()]
    if log.doubtful:
        said.append(
            f"So nobody knows whom the log of {name} has as champion, and nothing is moved to it: "
            "`rere promote VERSION` settles it."
        )
    return said


def _differences(name: str) -> list[str]:
    log = read_log(name)
    if not log.moves:
        return []
    version, counts = log.moves[-1].version, "" if log.doubtful else ", which counts"
    if version not in registry.version_numbers(name):
        return [
            f"Version {version} of {name}, the champion by the log, was deleted in MLflow: nothing is moved. "
            "`rere rollback` goes back to the champion before it, `rere promote` names another."
        ]
    found, held = [], registry.champion_version(name)
    if held != version:
        said = f"The alias `champion` of {name} names {_named(held or '')}, but the log says version {version}"
        remedy = f"; if version {held} should be champion: `rere promote {held}`" if held else ""
        found.append(f"{said}{counts}{remedy}.")
    if _in_zenml(name, version) and (staged := _stage_version(name)) != version:
        said = f"ZenML's stage `production` of {name} is {_named(staged or '')}'s"
        found.append(f"{said}, but the log says version {version}{counts}.")
    return found


def _require_in_both(name: str, version: str) -> None:
    """RereError for a version that one registry lacks: what the log says, both must be able to follow."""
    registry.get(name, version)
    if not _in_zenml(name, version):
        raise RereError(
            f"version {version} of {name} in MLflow and in ZenML",
            "none in ZenML: its registration was cut short, or it was deleted there",
            "run the pipeline again, which completes a registration; or choose another version",
        )


def _append(name: str, action: str, version: str, previous: str | None, who: str, *, reason: str) -> Event:
    key, event = event_log.append(name, action, version, previous, who, reason=reason)
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
