"""The champion on record: the log, and the two registries that follow it.

What is decided is first written to the log (`event_log`), and copied to the ZenML Model version's metadata; a move is
then done in MLflow (the alias), then in ZenML (the stage). A crash in between leaves a log that is ahead of the
registries, which `repair` brings up to it.
"""

from __future__ import annotations

import logging

from ops.registry import event_log, zenml_registry
from ops.registry import mlflow_registry as registry
from ops.registry.event_log import Event, read_log


def append(name: str, action: str, version: str, previous: str | None, who: str, *, reason: str) -> Event:
    """Write a decision to the log, and copy it to ZenML."""
    key, event = event_log.append(name, action, version, previous, who, reason=reason)
    _copy(name, key, event)
    return event


def follow(name: str, event: Event) -> None:
    """Do a move in both registries."""
    registry.set_alias(name, registry.CHAMPION, event.version)
    if in_zenml(name, event.version):
        zenml_registry.set_production(name, event.version)
    else:  # nobody may be kept from rolling back by a version that somebody deleted
        logging.getLogger(__name__).warning("%s %s is gone from ZenML, so its stage isn't set.", name, event.version)


def repair(name: str) -> bool:
    """Bring both registries up to the log, with a warning of what differed; True when something was behind.

    Where the log's last move was altered or can't be read, nothing is moved. An entry that isn't sound isn't copied.
    """
    log = read_log(name)
    sound = {key: event for key, event in log.entries.items() if key not in log.faults}
    missing = {key: event for key, event in sound.items() if not _copied(name, key, event)}
    for key, event in missing.items():
        _copy(name, key, event)
    found = _differences(name)
    moves = bool(found) and lost_champion(name) is None and not log.doubtful
    for said in _faults(name):
        logging.getLogger(__name__).warning("%s", said)
    for said in found:
        logging.getLogger(__name__).warning("%s%s", said, " It is set to that now." if moves else "")
    if moves:
        follow(name, log.moves[-1])
    return bool(missing) or moves


def disagreements(name: str) -> list[str]:
    """What is wrong with the log, and what differs from it in the registries, a sentence each; changes nothing."""
    return [*_faults(name), *_differences(name)]


def lost_champion(name: str) -> str | None:
    """The champion by the log, where that version was deleted in MLflow: nothing is known to be better than it."""
    moves = read_log(name).moves
    return None if not moves or moves[-1].version in registry.version_numbers(name) else moves[-1].version


def in_zenml(name: str, version: str) -> bool:
    """Whether ZenML knows the version."""
    return bool(zenml_registry.metadata_of(name, version))


def named(version: str) -> str:
    """How messages name a version, "" being none."""
    return f"version {version}" if version else "no version"


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
        said = f"The alias `champion` of {name} names {named(held or '')}, but the log says version {version}"
        remedy = f"; if version {held} should be champion: `rere promote {held}`" if held else ""
        found.append(f"{said}{counts}{remedy}.")
    if in_zenml(name, version) and (staged := zenml_registry.production_version(name)) != version:
        said = f"ZenML's stage `production` of {name} is {named(staged or '')}'s"
        found.append(f"{said}, but the log says version {version}{counts}.")
    return found


def _copy(name: str, key: str, event: Event) -> None:
    zenml_registry.add_metadata(name, event.version, {key: event.model_dump_json()})


def _copied(name: str, key: str, event: Event) -> bool:
    found = zenml_registry.metadata_of(name, event.version)
    return not found or key in found  # a version deleted in ZenML takes no copy
