"""Decisions about the champion, by people and by the gate, and its moves.

Every run and every command that decides something first repairs the record (`champion_record`), and says so. Commands
that only show something change nothing: they say what `disagreements` finds.
"""

from __future__ import annotations

import logging
from typing import Literal

from ops.registry import champion_record as record
from ops.registry import mlflow_registry as registry
from ops.registry.champion_lock import alone
from ops.registry.event_log import Event, Overtaken, read_log
from rere.errors import RereError


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
    with alone(name):
        record.repair(name)
        _require_in_both(name, version)
        present = registry.champion_version(name)
        if expected is not None and (present or "") != expected:
            raise Overtaken(
                f"{record.named(expected)} as the champion of {name}, against which version {version} was judged",
                record.named(present or ""),
                "somebody else promoted meanwhile, or deleted it: run again, which judges against today's champion",
            )
        if present == version and not read_log(name).doubtful:
            return None
        event = record.append(name, action, version, present, who, reason=reason)
        record.follow(name, event)
        return event


def decide(name: str, version: str, action: Literal["approve", "reject"], who: str, reason: str) -> Event:
    """Write a reviewer's word to the log; moves nothing. RereError without such a version."""
    with alone(name):
        record.repair(name)
        _require_in_both(name, version)
        return record.append(name, action, version, registry.champion_version(name), who, reason=reason)


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
    record.repair(name)
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


def _require_in_both(name: str, version: str) -> None:
    """RereError for a version that one registry lacks: what the log says, both must be able to follow."""
    registry.get(name, version)
    if not record.in_zenml(name, version):
        raise RereError(
            f"version {version} of {name} in MLflow and in ZenML",
            "none in ZenML: its registration was cut short, or it was deleted there",
            "run the pipeline again, which completes a registration; or choose another version",
        )
