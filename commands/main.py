"""`rere`: one file of this package a command, imported only when it is called, so that `rere --help` is quick."""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from rere.artifacts.manifest import writing
from rere.config.base import ModelName
from rere.errors import RereError, without_passwords
from rere.project import project_root, use_project, use_stack, use_store

WITHOUT_STACK = ("check", "validate")  # commands that read settings and data, and no registry
OF_PROJECT = ("pipelines", "steps", "materializers", "infra")  # code that a project has and the package hasn't
NO_COMMANDS = ("__init__", "main", "options")  # files of this package
LONGEST = 2_000  # characters of an argument: a reason is kept in a registry's tag


class LazyGroup(click.Group):
    """Finds `commands/NAME.py` and takes its `command`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in NO_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        module = name.replace("-", "_")
        if module not in self.list_commands(context):
            return None
        command = importlib.import_module(f"{__package__}.{module}").command
        assert isinstance(command, click.Command)
        assert command.callback is not None
        prepared = copy.copy(command)
        prepared.callback = _after(use_store if module in WITHOUT_STACK else use_stack, command.callback)
        return prepared

    def invoke(self, context: click.Context) -> object:
        """What a user can mend ends the command with its message alone, exit status 1."""
        try:
            return super().invoke(context)
        except RereError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise click.ClickException(str(_missing(error))) from error
        except OSError as error:
            if error.filename is None:
                raise
            said = RereError(f"to read or write {error.filename}", error.strerror or str(error), "correct the path")
            raise click.ClickException(str(said)) from error
        except Exception as error:
            if type(error).__name__ != "MlflowException":  # its import takes seconds
                raise
            where = without_passwords(os.environ.get("MLFLOW_TRACKING_URI", ""))
            why = without_passwords((str(error).splitlines() or ["nothing"])[0])
            said = RereError(f"an answer of the registry {where}", why, "do as it says")
            raise click.ClickException(str(said)) from error


def _after(find: Callable[[], Path], run: Callable[..., Any]) -> Callable[..., Any]:
    """A command that finds its project first; only when it runs, so that each one's --help works anywhere."""

    @functools.wraps(run)
    def found(*arguments: Any, **options: Any) -> Any:
        for name, value in options.items():
            _require_plain(name, value)
        root = find()
        if str(root) not in sys.path:  # last: what is installed stays what it is, and the pipelines are the project's
            sys.path.append(str(root))
        with writing(root / ".rere"):
            return run(*arguments, **options)

    return found


def _missing(error: ModuleNotFoundError) -> RereError:
    """What to do about a module that isn't there; raises the error itself where that is nothing a user can mend."""
    module = (error.name or "").partition(".")[0]
    if module in OF_PROJECT:
        return RereError(
            f"a project with its code ({module}/), which this command runs",
            f"none in {project_root()}",
            "start it in a clone of the repository, or name one: `rere --project DIRECTORY ...`",
        )
    for line in importlib.metadata.requires("rere-pipelines") or ():
        found = re.match(r"""([\w.-]+).*; extra == ["'](\w+)["']""", line)
        if found and re.sub(r"[-_.]+", "_", found[1]) == module:
            return RereError(f"the package {found[1]}", "none", f"pip install 'rere-pipelines[{found[2]}]'")
    raise error


def _require_plain(name: str, value: object) -> None:
    """RereError for text that registries, their queries and logs can't take."""
    shown = f"--{name.replace('_', '-')}"
    if isinstance(value, str) and not (value.isprintable() and value.strip() and len(value) <= LONGEST):
        raise RereError(f"1 to {LONGEST:,} printable characters for {shown}", ascii(value)[:80], "correct it")
    if name == "model":
        try:
            TypeAdapter(ModelName).validate_python(value)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise RereError(f"the name of a model for {shown}: {said}", repr(value), "correct it") from None


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from rere.artifacts.provenance import describe_version

        click.echo(describe_version())
        context.exit()


@click.command(cls=LazyGroup)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the versions of rere (with its commit), Python and torch, and exit.",
)
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="The project's root [default: $RERE_PROJECT; else found from the current directory upwards].",
)
def cli(project: Path | None) -> None:
    """Train, evaluate and serve LLM-based generative recommenders."""
    if project is not None:
        use_project(project)


if __name__ == "__main__":
    cli()
