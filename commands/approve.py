"""`rere approve`: a reviewer's yes."""

from __future__ import annotations

import click

from .options import model_option, reason_option, reviewer_option, warn


@click.command()
@click.argument("version")
@model_option
@reviewer_option
@reason_option
def command(version: str, model: str, who: str | None, reason: str) -> None:
    """Approve VERSION and make it the champion.

    Refused when its gate did not pass, and when the champion is another one than it was judged against.
    """
    from ops.registry import champion
    from ops.registry import mlflow_registry as registry
    from ops.registry.anchor import follow_champion
    from ops.registry.event_log import user
    from rere.errors import RereError

    tags = registry.get(model, version).tags
    if tags.gate != "passed":
        raise RereError(
            f"a version of {model} whose gate passed",
            f"version {version}, gate {tags.gate or 'not asked'}",
            "reject it; `rere promote` overrides the gate, with the reason on record",
        )
    reviewer, against = who or user(), tags.judged_against or ""
    present = registry.champion_version(model) or ""
    if present not in (against, version):
        raise RereError(
            f"the champion that version {version} was judged against ({against or 'none'})",
            f"version {present}" if present else "no champion",
            "run the pipeline again: it judges against today's champion",
        )
    champion.decide(model, version, "approve", reviewer, reason)
    event = champion.move(model, version, reviewer, reason, expected=present)
    said = follow_champion(model, version, surely_better=tags.beats_anchor == "yes")
    if said:
        warn([said])
    click.echo(f"{model} {version} is approved" + (" and champion now." if event else "; it was champion already."))
