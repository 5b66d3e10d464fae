"""`rere run`: a pipeline, from any directory and without an activated environment."""

from __future__ import annotations

from pathlib import Path

import click

from .options import pipeline_named


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Run configuration [default: the settings of configs/nano.yaml].",
)
@click.option(
    "--pipeline",
    "name",
    type=click.Choice(["rere", "retrain", "batch", "tune"]),
    default="rere",
    show_default=True,
    help="Which one; `rere retrain` asks first whether there is anything new.",
)
def command(config: Path | None, name: str) -> None:
    """Run a pipeline: train, judge and register by default. The same as `zenml pipeline run rere_pipeline`."""
    from pipelines.explain import explain_errors

    explain_errors()
    pipeline_named(name).with_options(config_path=None if config is None else str(config))()
