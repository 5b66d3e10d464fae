"""`rere versions`: what is registered, and who was champion when."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from .options import json_option, model_option, warn


@click.command()
@model_option
@json_option
def command(model: str, as_json: bool) -> None:
    """List the registered versions with their aliases and metrics, then the champion's log."""
    import json

    from rich.console import Console
    from rich.table import Column, Table

    from ops.registry import champion, champion_record
    from ops.registry import mlflow_registry as registry
    from ops.registry.compare import other_rows
    from rere.errors import RereError

    found, log = registry.versions(model), champion.events(model)
    if not found and not log:  # with a log, all of them were deleted: that is said
        raise RereError(f"registered versions of {model}", "none", "run `make demo`, or name another by --model")
    warnings = champion_record.disagreements(model) + other_rows(found)
    if as_json:
        listed = [
            {"version": one.version, "registered": _time(one.created), "aliases": one.aliases} | one.tags.model_dump()
            for one in found
        ]
        events = [event.model_dump() for event in log]
        click.echo(json.dumps({"model": model, "versions": listed, "log": events, "warnings": warnings}, indent=1))
        return
    warn(warnings)
    names = ("version", "registered", "aliases", "serves", "metric", "gate", "content")
    table = Table(*(Column(name, overflow="fold") for name in names))  # nothing is cut on a narrow screen
    for version in found:
        tags = version.tags
        registered = _time(version.created)[:16].replace("T", " ")
        figures = (tags.serves or "-", tags.figure(), tags.gate or "-", (tags.fingerprint or "-")[:12])
        table.add_row(version.version, registered, ", ".join(version.aliases), *figures)
    console = Console(soft_wrap=True)
    console.print(table)
    for event in log:
        before = f" (before: {event.previous})" if event.previous else ""
        console.print(
            f"{event.time}  {event.action} {event.version}{before}, by {event.who}: {event.reason}", markup=False
        )


def _time(milliseconds: int) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
