"""`rere reproduce`: make a version again, and compare."""

from __future__ import annotations

import click

from .options import json_option, model_option, warn


@click.command()
@click.argument("version")
@model_option
@click.option("--timeout", default=6 * 3600, show_default=True, help="Seconds to wait for a remote run.")
@json_option
def command(version: str, *, model: str, timeout: int, as_json: bool) -> None:
    """Run what made VERSION again, from its record alone and without the cache, and compare the two.

    The result is registered as a version of MODEL-reproduced and never promoted. Refused where the source's files are
    others than on record. Exit status 1 where the model or its figure came out different.
    """
    import contextlib
    import sys

    from pipelines.explain import explain_errors
    from pipelines.reproduce import reproduce

    explain_errors()
    talk: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if as_json:  # what the run prints is not part of the answer
        talk = contextlib.redirect_stdout(sys.stderr)
    with talk:
        found = reproduce(model, version, timeout)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        warn(found.warnings)
        click.echo(f"{model} {version} again, as version {found.again} of {found.registered_as}: {found.sentence}")
    if found.result == "different":
        sys.exit(1)
