"""`rere clean`: put away what killed and stopped runs left, and the large artifacts of runs that led to nothing."""

from __future__ import annotations

import re
from datetime import timedelta

import click


class Age(click.ParamType[timedelta]):
    """A number of days, as `30d`."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        if (found := re.fullmatch(r"(\d{1,5})d", str(value))) is None:
            self.fail(f"{value!r} is no number of days, such as 30d", param, ctx)
        return timedelta(days=int(found[1]))


@click.command()
@click.option(
    "--older-than",
    type=Age(),
    help="Instead, list the large artifacts (data, models, tables) that are older, such as 30d, and that no registered "
    "version needs.",
)
@click.option("--delete", is_flag=True, help="With --older-than: delete their files.")
def command(older_than: timedelta | None, delete: bool) -> None:
    """Close killed runs in ZenML, and remove the checkpoints of trainings that no process works at.

    A killed training can't resume afterwards: the next run begins it anew.
    """
    if older_than is not None:
        _artifacts(older_than, delete)
        return
    if delete:
        raise click.UsageError("--delete goes with --older-than")
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


def _artifacts(older_than: timedelta, delete: bool) -> None:
    from ops.registry.retention import removable, remove

    found = removable(older_than)
    for one in found:
        click.echo(
            f"{one.artifact.created:%Y-%m-%d}  {one.size / 1e6:10.1f} MB  {one.artifact.name}  {one.artifact.uri}"
        )
    total = f"{len(found)} artifacts, {sum(one.size for one in found) / 1e6:.1f} MB"
    if not found:
        click.echo(f"No artifact older than {older_than.days} days that no registered version needs.")
    elif delete:
        remove(found)
        click.echo(f"Deleted: {total}. Their runs stay on record.")
    else:
        click.echo(
            f"Nothing was deleted. To delete them ({total}): rere clean --older-than {older_than.days}d --delete"
        )
