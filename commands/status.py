"""`rere status`: where a registered model stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import json_option, model_option, warn

if TYPE_CHECKING:
    from ops.registry.last_run import LastRun


@click.command()
@model_option
@click.option("--service", default=None, metavar="URL", help="Also ask this `rere serve`, as http://localhost:5001.")
@json_option
def command(model: str, service: str | None, as_json: bool) -> None:
    """Show the champion and its age, the last decision and run, how far the data moved, and what a service serves.

    Changes nothing.
    """
    from ops.registry.status import status_of

    now = status_of(model, service)
    if as_json:
        click.echo(now.model_dump_json(indent=1))
        return
    warn(now.warnings)
    value = "" if now.value is None else f", {now.metric} {now.value:.4f}, gate {now.gate or 'not asked'}"
    since = "" if now.days is None else f", for {now.days:.1f} days"
    event, asked = now.last, now.service
    last = None if event is None else f"{event.time}  {event.action} {event.version}, by {event.who}: {event.reason}"
    facts: dict[str, str | None] = {
        "champion": now.champion and f"version {now.champion}{since}{value}",
        "challenger": now.challenger and f"version {now.challenger}",
        "anchor": now.anchor and f"version {now.anchor}",
        "policy": None if now.policy is None else f"number {now.policy}",
        "last decision": last,
        "last run": None if now.run is None else _ended(now.run),
        "drift": None if now.run is None else _moved(now.run),
    }
    if service is not None:
        facts["service"] = None if asked is None else f"{asked.status}, serves version {asked.model_version}"
    for name, fact in facts.items():
        click.echo(f"{name}: {fact or 'none'}")


def _ended(run: LastRun) -> str:
    where = f" in {', '.join(run.failed)}" if run.failed else ""
    return f"{run.name}, {run.status}{where}, started {run.started}"


def _moved(run: LastRun) -> str:
    if run.drift is None:
        return "unknown, for no data of the last run passed their checks"
    most = run.moved_most
    moved = f"most in {most.metric}, stability index {most.psi:.3f}" if most else "nothing to compare with"
    return f"{moved}; checks of the data that warned: {run.warned}"
