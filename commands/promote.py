"""`rere promote`: make a version champion."""

from __future__ import annotations

import click

from .options import model_option, reason_option, warn, who_option


@click.command()
@click.argument("version")
@model_option
@who_option
@reason_option
@click.option("--expected", default=None, help="Refuse unless this version is the champion now.")
@click.option(
    "--as-anchor", is_flag=True, help="Count later losses from this version on, as when a loss against it is accepted."
)
def command(version: str, *, model: str, who: str | None, reason: str, expected: str | None, as_anchor: bool) -> None:
    """Make VERSION the champion, in MLflow and in ZenML; what serves the alias follows."""
    from ops.registry import champion
    from ops.registry.anchor import follow_champion
    from ops.registry.event_log import user

    event = champion.move(model, version, who or user(), reason, expected)
    said = follow_champion(model, version, surely_better=as_anchor)
    if said:
        warn([said])
    if event is None:
        click.echo(f"{model} {version} is the champion already.")
    else:
        click.echo(
            f"{model} {version} is the champion now" + (f", before: {event.previous}." if event.previous else ".")
        )
