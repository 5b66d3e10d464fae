"""`rere policy`: what every challenger of a registered model must show."""

from __future__ import annotations

from pathlib import Path

import click

from .options import model_option, who_option


@click.command()
@model_option
@click.option(
    "--set",
    "config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Run configuration whose `promotion.gate` becomes the policy.",
)
@who_option
@click.option("--reason", default=None, help="Why; kept with the policy. Needed with --set.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: all that were ever set, oldest first.")
def command(model: str, *, config: Path | None, who: str | None, reason: str | None, as_json: bool) -> None:
    """Print the policy, the gate settings that every challenger must pass, or set it.

    The first run's gate settings are the policy. A run that asks less of its model promotes nothing by itself.
    """
    import json

    import yaml

    from ops.registry.event_log import user
    from ops.registry.policy import policies, set_policy
    from rere.config.promotion import PromotionConfig
    from rere.config.reading import read_yaml, validated
    from rere.errors import RereError
    from rere.evaluation.policy import weakened

    known = policies(model)
    if config is not None and as_json:
        raise RereError("either --set or --json", "both", "set the policy, then ask for it with --json")
    if config is not None:
        if reason is None:
            raise RereError("a reason for another policy", "none", "give --reason")
        content = read_yaml(config).get("parameters") or {}
        gate = validated(PromotionConfig, content.get("promotion") or {}, f"`promotion` in {config}").gate
        policy = set_policy(model, gate, who or user(), reason)
        laxer = weakened(known[-1].gate, policy.gate) if known else []
        click.echo(
            f"The policy of {model} is set." + (f" It asks less than before: {'; '.join(laxer)}." if laxer else "")
        )
        return
    if not known:
        raise RereError(f"a policy of {model}", "none yet", "run the pipeline once, or set it: --set configs/nano.yaml")
    if as_json:
        click.echo(json.dumps({"model": model, "policies": [one.model_dump(mode="json") for one in known]}, indent=1))
        return
    last = known[-1]
    click.echo(f"# set by {last.who} on {last.time}: {last.reason}")
    click.echo(yaml.safe_dump(last.gate.model_dump(mode="json"), sort_keys=False), nl=False)
