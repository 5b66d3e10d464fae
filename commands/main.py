"""`rere`: one file of this package a command, imported only when it is called, so that `rere --help` is quick."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from rere.errors import RereError


class LazyGroup(click.Group):
    """Finds `commands/NAME.py` and takes its `command`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in ("__init__", "main"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        module = name.replace("-", "_")
        if module not in self.list_commands(context):
            return None
        command = importlib.import_module(f"commands.{module}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, context: click.Context) -> object:
        """A RereError ends the command with its message alone, exit status 1."""
        try:
            return super().invoke(context)
        except RereError as error:
            raise click.ClickException(str(error)) from error


@click.command(cls=LazyGroup)
def cli() -> None:
    """Train, judge, serve: LLM-based generative recommenders."""


if __name__ == "__main__":
    cli()
