"""`rere check`: what a run's settings get wrong, before anything is read."""

from __future__ import annotations

from pathlib import Path

import click

from .options import config_option, pipeline_named, pipeline_option


@click.command()
@config_option
@pipeline_option
def command(config: Path, name: str) -> None:
    """Check all settings of a run without data: names, values, what goes together, files, own rewards, the backbone.

    A run does the same before it reads anything. Files that settings name must be here, unless the stack runs steps
    elsewhere: then what isn't here is only listed. Exit status 1 with the mistakes, else 0.
    """
    from pipelines.checked import settings_of
    from pipelines.devices import require_devices, stays_here
    from pipelines.named_files import missing_files, not_there
    from pipelines.preflight import preflight
    from rere.project import in_project
    from rere.training.check import check_backbone

    settings = settings_of(pipeline_named(name), config.resolve())
    with in_project():
        if missing := missing_files(settings):
            if stays_here():
                raise not_there(missing)
            click.echo(f"Not on this machine, and needed where the steps run: {', '.join(missing)}.", err=True)
        preflight(settings)
        require_devices(settings)
        policies = (settings[stage] for stage in ("rl", "preference", "reasoning"))
        check_backbone(settings["catalog"], settings["sft"], *policies)
    click.echo(f"{config}: the settings are sound. `rere validate -c {config}` looks at the data.")
