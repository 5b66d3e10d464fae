"""`rere diff`: what two versions differ in."""

from __future__ import annotations

import click


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--model", default="rere", show_default=True, help="Registered model.")
@click.option("--all", "everything", is_flag=True, help="Also what is the same.")
def command(before: str, after: str, model: str, everything: bool) -> None:
    """Compare the versions BEFORE and AFTER: metrics, gate, settings, data, code, packages, size."""
    from rich.console import Console
    from rich.table import Table

    from ops.registry.compare import differences

    table = Table("", f"version {before}", f"version {after}")
    rows = differences(model, before, after)
    for name, left, right in rows:
        if everything or left != right:
            table.add_row(name, left, right)
    same = sum(left == right for _, left, right in rows)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"{same} of {len(rows)} facts are the same" + ("." if everything else "; --all shows them."))
