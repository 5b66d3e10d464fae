"""`rere review`: the page that a decision rests on."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from .options import json_option, model_option, warn


@click.command()
@click.argument("version", required=False)
@model_option
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), show_default=True)
@click.option("--open", "show", is_flag=True, help="Open it in a browser.")
@json_option
def command(version: str | None, *, model: str, to: Path, show: bool, as_json: bool) -> None:
    """Write VERSION's promotion review to a file (without VERSION: the challenger's) and print what was decided."""
    import json

    import mlflow

    from ops.registry import champion, champion_record
    from ops.registry import mlflow_registry as registry
    from rere.errors import RereError

    warnings = champion_record.disagreements(model)
    warn(() if as_json else warnings)
    listed = registry.versions(model)
    if version is None:
        found = [one for one in listed if registry.CHALLENGER in one.aliases]
        if not found:
            raise RereError(f"a challenger of {model}", "none", "name a version; `rere versions` lists them")
        version = found[0].version
    tags = registry.get(model, version).tags
    run = tags.review_run
    if not run:
        raise RereError(f"a review of version {version}", "none on record", "run the pipeline: it judges and reviews")
    page = mlflow.artifacts.load_text(f"runs:/{run}/review.html")
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"review-{model}-{version}.html"
    path.write_text(page, encoding="utf-8")
    against = tags.judged_against
    events = [event for event in champion.events(model) if event.version == version]
    if as_json:
        facts = {"gate": tags.gate, "metric": tags.metric, "value": tags.value, "judged_against": against or None}
        log = {"log": [event.model_dump() for event in events], "page": str(path), "warnings": warnings}
        click.echo(json.dumps({"model": model, "version": version} | facts | log, indent=1))
    else:
        click.echo(f"{model} {version}: gate {tags.gate or '?'}, {tags.figure()}")
        click.echo(f"judged against: {f'version {against}' if against else 'no champion'}")
        for event in events:
            click.echo(f"{event.time}  {event.action}, by {event.who}: {event.reason}")
        click.echo(f"review: {path}")
    if show:
        webbrowser.open(path.resolve().as_uri())
