"""`rere rollback`: back to the champion before."""

from __future__ import annotations

import click

from .options import model_option, reason_option, who_option


@click.command()
@model_option
@who_option
@reason_option
def command(model: str, who: str | None, reason: str) -> None:
    """Make the champion before the present one champion again, in MLflow and in ZenML."""
    from ops.registry import champion
    from ops.registry.event_log import user

    event = champion.roll_back(model, who or user(), reason)
    click.echo(f"{model} {event.version} is the champion again; {event.previous} is not any more.")
