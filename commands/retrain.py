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
    "--when",
    type=click.Choice(["changed", "always"]),
    default="changed",
    show_default=True,
    help="changed: only where data or settings changed since the champion.",
)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write the outcome as JSON.")
@click.option("--timeout", default=6 * 3600, show_default=True, help="Seconds to wait for a remote run.")
def command(config: Path, when: str, to: Path | None, timeout: int) -> None:
    """Retrain with what the source has gained since the champion; exit 1 when the run fails."""
    from pipelines.checked import explain_errors
    from pipelines.retraining import retrain

    explain_errors()
    outcome = retrain(config, "always" if when == "always" else "changed", timeout)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(outcome.model_dump_json(indent=1) + "\n", encoding="utf-8")
    click.echo(
        f"\n{outcome.model}: {outcome.type}, version {outcome.version or '-'}, champion {outcome.champion or '-'}"
    )
    for reason in outcome.reasons:
        click.echo(f"  {reason}")
