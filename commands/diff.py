"""`rere diff`: what two versions differ in."""

from __future__ import annotations

import click

from .options import json_option, model_option, warn


@click.command()
@click.argument("before")
@click.argument("after")
@model_option
@click.option("--all", "everything", is_flag=True, help="Also what is the same.")
@json_option
def command(before: str, after: str, *, model: str, everything: bool, as_json: bool) -> None:
    """Compare the versions BEFORE and AFTER: metrics, gate, settings, data, code, packages, size."""
    import json

    from rich.console import Console
    from rich.table import Table

    from ops.registry import mlflow_registry as registry
    from ops.registry.compare import differences, other_rows

    rows = differences(model, before, after)
    shown = [row for row in rows if everything or row[1] != row[2]]
    warnings = other_rows([registry.get(model, version) for version in (before, after)])
    if as_json:
        listed = [{"fact": name, "before": left, "after": right} for name, left, right in shown]
        said = {"model": model, "before": before, "after": after, "facts": listed, "warnings": warnings}
        click.echo(json.dumps(said, indent=1))
        return
    warn(warnings)
    table = Table("", f"version {before}", f"version {after}")
    for row in shown:
        table.add_row(*row)
    same = sum(left == right for _, left, right in rows)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"{same} of {len(rows)} facts are the same" + ("." if everything else "; --all shows them."))
