"""`rere clean`: put away what killed and stopped runs left."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Give killed runs an end in ZenML, and remove the checkpoints of trainings that nobody works at.

    A killed training can't go on from its checkpoint afterwards: the next run begins it anew.
    """
    from ops.runtime.run_dirs import clear_work
    from ops.runtime.unfinished import close_dead

    for run in close_dead():
        click.echo(f"{run} was killed: ZenML now lists it as failed.")
    removed, used = clear_work()
    for directory in removed:
        click.echo(f"removed {directory}")
    for directory in used:
        click.echo(f"in use, kept: {directory}")
    if not removed:
        click.echo("No checkpoints to remove.")
