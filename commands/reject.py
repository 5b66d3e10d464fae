"""`rere reject`: a reviewer's no."""

from __future__ import annotations

import click

from .options import model_option, reason_option, reviewer_option


@click.command()
@click.argument("version")
@model_option
@reviewer_option
@reason_option
def command(version: str, model: str, who: str | None, reason: str) -> None:
    """Reject VERSION: it loses the alias challenger, and no run makes it champion by itself."""
    from ops.registry import champion
    from ops.registry import mlflow_registry as registry
    from ops.registry.event_log import user
    from rere.errors import RereError

    if registry.champion_version(model) == version:
        raise RereError("a version that isn't champion", f"version {version}, the champion", "use `rere rollback`")
    champion.decide(model, version, "reject", who or user(), reason)
    registry.remove_alias(model, registry.CHALLENGER, version)
    click.echo(f"{model} {version} is rejected.")
