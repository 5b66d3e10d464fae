"""`rere retrain`: train on from the champion where there is something new."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Run configuration, such as configs/retrain.yaml.",
)
@click.option(
    "--on",
    "platform",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Run configuration that says where and how it runs, such as configs/k8s.yaml; its parameters don't count.",
)
@click.option(
    "--when",
    type=click.Choice(["changed", "always"]),
    default="changed",
    show_default=True,
    help="changed: only where data or settings changed since the champion.",
)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write the outcome as JSON.")
@click.option("--dry-run", is_flag=True, help="Only say whether it would run, and why.")
@click.option("--timeout", default=6 * 3600, show_default=True, help="Seconds to wait for a remote run.")
def command(config: Path, *, platform: Path | None, when: str, to: Path | None, dry_run: bool, timeout: int) -> None:
    """Retrain with what the source has gained since the champion; exit 1 when the run fails."""
    from pipelines.explain import explain_errors
    from pipelines.retraining import planned, retrain

    explain_errors()
    if dry_run:
        plan = planned(config, platform)
        click.echo(f"It would {'run' if plan.type == 'run' or when == 'always' else 'be skipped'}: {plan.reason}.")
        return
    outcome = retrain(config, "always" if when == "always" else "changed", timeout, platform)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(outcome.model_dump_json(indent=1) + "\n", encoding="utf-8")
    click.echo(
        f"\n{outcome.model}: {outcome.type}, version {outcome.version or '-'}, champion {outcome.champion or '-'}"
    )
    for reason in outcome.reasons:
        click.echo(f"  {reason}")
