"""`rere versions`: what is registered, and who was champion when."""

from __future__ import annotations

import click


@click.command()
@click.option("--model", default="rere", show_default=True, help="Registered model.")
def command(model: str) -> None:
    """List the registered versions with their aliases and metrics, then the champion's log."""
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.table import Table

    from ops.registry import champion_log as champion
    from ops.registry import mlflow_registry as registry
    from rere.errors import RereError

    for said in champion.disagreements(model):
        click.echo(f"Warning: {said}", err=True)
    found = registry.versions(model)
    if not found:
        raise RereError(f"registered versions of {model}", "none", "run `make demo`, or name another by --model")
    table = Table("version", "registered", "aliases", "metric", "gate", "content")
    for version in found:
        tags = version.tags
        registered = datetime.fromtimestamp(version.created / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        figures = (tags.figure(), tags.gate or "-", (tags.fingerprint or "-")[:12])
        table.add_row(version.version, registered, ", ".join(version.aliases), *figures)
    console = Console(soft_wrap=True)
    console.print(table)
    for event in champion.events(model):
        before = f" (before: {event.previous})" if event.previous else ""
        console.print(
            f"{event.time}  {event.action} {event.version}{before}, by {event.who}: {event.reason}", markup=False
        )
