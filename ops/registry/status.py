"""Where a registered model stands: champion, last decision and run, policy, anchor, and what a service answers with."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException

from pydantic import BaseModel, ConfigDict

from ops.registry import champion_record, last_run
from ops.registry import mlflow_registry as registry
from ops.registry.anchor import find_anchor
from ops.registry.champion import events as events_of
from ops.registry.event_log import Event
from ops.registry.last_run import LastRun
from ops.registry.policy import policies
from ops.registry.tags import VersionTags
from rere.errors import RereError
from rere.serving.http.schemas import Readiness

WAIT = 5.0  # seconds for a service's answer


class Status(BaseModel):
    """At this moment; None where there is none.

    champion: the version that MLflow's alias names
    days: since the log's last move, if that made this champion
    gate, metric, value: the champion's, on the test rows of its day
    last: the log's last entry
    run: the last pipeline run for this model, whatever came of it
    policy: how many times the gate's policy was set, so the number of the one that counts
    service: what it says, where one was asked and answered
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    champion: str | None
    days: float | None
    gate: str | None
    metric: str | None
    value: float | None
    challenger: str | None
    last: Event | None
    run: LastRun | None
    policy: int | None
    anchor: str | None
    service: Readiness | None
    warnings: tuple[str, ...]


def status_of(name: str, service: str | None = None, now: datetime | None = None) -> Status:
    """Looks and changes nothing.

    Args:
        service: address of a `rere serve`, such as http://localhost:5001; what is wrong with it is a warning.

    Raises:
        RereError: never a registered version, or an address that is none.
    """
    found, events = {version.version: version for version in registry.versions(name)}, events_of(name)
    if not found and not events:
        raise RereError(f"registered versions of {name}", "none", "run `make demo`, or name another by --model")
    warnings = champion_record.disagreements(name)
    champion, challenger = registry.champion_version(name), registry.version_by_alias(name, registry.CHALLENGER)
    anchor = find_anchor(name)
    warnings += [anchor.note] if anchor.note else []
    answer = None
    if service is not None:
        answer, said = _asked(service, champion)
        warnings += said
    tags = found[champion].tags if champion in found else VersionTags()
    moves = [event for event in events if event.action in ("promote", "rollback")]
    days = None
    if moves and moves[-1].version == champion:
        days = round(((now or datetime.now(UTC)) - datetime.fromisoformat(moves[-1].time)).total_seconds() / 86_400, 2)
    return Status(
        model=name,
        champion=champion,
        days=days,
        gate=tags.gate,
        metric=tags.metric,
        value=tags.value,
        challenger=challenger,
        last=events[-1] if events else None,
        run=last_run.last_run_of(name),
        policy=len(policies(name)) or None,
        anchor=anchor.version,
        service=answer,
        warnings=tuple(warnings),
    )


def _asked(service: str, champion: str | None) -> tuple[Readiness | None, list[str]]:
    """The answer of its /ready, and what is wrong with it."""
    if not service.startswith(("http://", "https://")):
        raise RereError("an address such as http://localhost:5001", service, "correct --service")
    try:
        ready = Readiness.model_validate(_ready(f"{service.rstrip('/')}/ready"))
    except (OSError, ValueError, HTTPException) as error:  # pydantic's is a ValueError
        return None, [f"The service {service} gave no answer that is one: {type(error).__name__}: {error}"]
    said = []
    if ready.status != "ready":
        said.append(f"The service {service} is {ready.status}.")
    if ready.model_version != champion:
        wanted = ready.wanted_version or "none"
        said.append(
            f"The service {service} serves version {ready.model_version}, which isn't the champion; "
            f"the alias that it follows names {wanted}."
        )
    return ready, said


def _ready(address: str) -> object:
    try:
        with urllib.request.urlopen(address, timeout=WAIT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 503:  # shutting down: the answer has the same form
            return json.load(error)
        raise
