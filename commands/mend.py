"""`rere mend`: have damaged or lost artifacts made anew."""

from __future__ import annotations

import click


@click.command()
@click.argument("uri", required=False)
def command(uri: str | None) -> None:
    """Check the artifact at URI (default: all artifacts), so that the next run makes damaged or missing ones again.

    URI is the address in the error message. The steps that made a damaged artifact are taken out of the cache; nothing
    is deleted. Then run the pipeline again.
    """
    from ops.runtime import mending

    found = mending.artifacts(uri)
    broken = 0
    for artifact in found:
        wrong = mending.problem(artifact)
        if wrong is None:
            continue
        broken += 1
        steps = mending.forget(artifact)
        again = f"the next run makes it anew by {', '.join(steps)}" if steps else "no cached step gives it any more"
        click.echo(f"{artifact.name}, version {artifact.version} ({artifact.uri}): {wrong}; {again}.")
    whole = len(found) - broken
    click.echo(f"{whole} {'artifact is' if whole == 1 else 'artifacts are'} whole, {broken} damaged or gone.")
