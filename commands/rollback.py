"""`rere rollback`: back to the champion before."""

from __future__ import annotations

import click


@click.command()
@click.option("--model", default="rere", show_default=True, help="Registered model.")
@click.option("--by", "who", default=None, help="Who decides [default: the user of this machine].")
@click.option("--reason", required=True, help="Why; kept in the log.")
def command(model: str, who: str | None, reason: str) -> None:
    """Make the champion before the present one champion again, in MLflow and in ZenML."""
    from ops.registry import champion
    from ops.registry.event_log import user

    event = champion.roll_back(model, who or user(), reason)
    click.echo(f"{model} {event.version} is the champion again; {event.previous} is not any more.")
