"""What several commands take, and how they warn. No command itself."""

from __future__ import annotations

from collections.abc import Iterable
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
model_option = click.option("--model", default="rere", show_default=True, help="Registered model.")
BY_WHOM = "Who decides [default: the user of this machine]."
who_option = click.option("--by", "who", default=None, help=BY_WHOM)
reviewer_option = click.option("--by", "--reviewer", "who", default=None, help=BY_WHOM)
reason_option = click.option("--reason", required=True, help="Why; kept in the log.")
json_option = click.option("--json", "as_json", is_flag=True, help="For scripts; warnings are part of it.")


def warn(sentences: Iterable[str]) -> None:
    """Print warnings to standard error, so that what a script reads stays clean."""
    for sentence in sentences:
        click.echo(f"Warning: {sentence}", err=True)


def pipeline_named(name: str) -> CheckedPipeline:
    """`rere_pipeline` for rere, and so on; imported only when it is asked for."""
    pipeline: CheckedPipeline = getattr(import_module(f"pipelines.{name}"), f"{name}_pipeline")
    return pipeline
