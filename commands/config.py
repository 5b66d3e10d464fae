"""`rere config`: the run configuration that a version was made with."""

from __future__ import annotations

import click

from .options import model_option, warn


@click.command()
@click.argument("version")
@model_option
def command(version: str, model: str) -> None:
    """Print the settings that made VERSION as a run configuration: `rere config 7 > run.yaml`.

    Comments above them name its commit, packages, and the SHA-256 of its files; what isn't pinned is a warning.
    """
    from ops.registry.recipe import recipe_of, run_configuration
    from pipelines.reproduce import not_reproducible

    recipe = recipe_of(model, version)
    warn(not_reproducible(recipe))
    click.echo(run_configuration(recipe), nl=False)
