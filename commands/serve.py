"""`rere serve`: the model under a registry's alias as an HTTP service."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .options import model_option


@click.command()
@model_option
@click.option("--alias", default="champion", show_default=True, help="Its alias; the service follows it.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=5001, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--threads",
    default=None,
    type=click.IntRange(1),
    help="CPU threads of the model [default: all cores but one, which HTTP needs].",
)
@click.option(
    "--edits",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File that keeps added and removed items [default: .rere/serving/MODEL.json in the project].",
)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="YAML file with limits and times (docs/serving.md).",
)
def command(
    model: str, alias: str, host: str, port: int, threads: int | None, *, edits: Path | None, settings: Path | None
) -> None:
    """Serve recommendations over HTTP.

    RERE_SERVE_TOKEN, where set, is the bearer token that clients need. RERE_ADMIN_TOKEN is the one for changes of
    the catalogue; without it they are off.
    """
    import torch

    from ops.registry.alias import AliasSource
    from ops.registry.edits import default_edits
    from rere.config.reading import read_yaml, validated
    from rere.serving.config import ServingConfig
    from rere.serving.engine.follow import Follower
    from rere.serving.engine.service import RecommendationService
    from rere.serving.http.access import Tokens, default_hosts
    from rere.serving.http.app import create_app
    from rere.serving.http.logs import set_up_logging
    from rere.serving.http.server import make_server

    config = validated(ServingConfig, read_yaml(settings), str(settings)) if settings else ServingConfig()
    set_up_logging(config.log_format)
    if config.allowed_hosts is None:
        config = config.model_copy(update={"allowed_hosts": default_hosts(host)})
    torch.set_num_threads(threads or max(1, torch.get_num_threads() - 1))
    click.echo(f"Loading {model}@{alias} ...", err=True)
    source = AliasSource(model, alias, config)
    service = RecommendationService(source.first(), config, edits or default_edits(model))
    tokens = Tokens.from_environment(os.environ)
    app = create_app(service, config, tokens, Follower(source, config.poll_seconds))
    make_server(app, config, host, port).run()
