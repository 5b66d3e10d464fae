"""What several commands take: a run configuration, and which pipeline it is for. No command itself."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipelines.checked import CheckedPipeline

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Run configuration, such as configs/nano.yaml.",
)
pipeline_option = click.option(
    "--pipeline",
    "name",
    type=click.Choice(["rere", "retrain", "tune"]),
    default="rere",
    show_default=True,
    help="The pipeline that it is for.",
)


def pipeline_named(name: str) -> CheckedPipeline:
    """`rere_pipeline` for rere, and so on; imported only when it is asked for."""
    pipeline: CheckedPipeline = getattr(import_module(f"pipelines.{name}"), f"{name}_pipeline")
    return pipeline
