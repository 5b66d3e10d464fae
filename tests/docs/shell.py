"""Whether a command of the documentation could run: its program, subcommand, options, targets and files exist."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from functools import cache
from pathlib import Path

import click

from tests.docs.blocks import ROOT

OUTSIDE = {
    "cd",
    "curl",
    "docker",
    "export",
    "git",
    "head",
    "helm",
    "kubectl",
    "pre-commit",
    "source",
    "uv",
}  # not this project's
PATH = re.compile(r"^(?:configs|docs|infra|tests|benchmarks|experiments|steps|ops|rere)/[\w./-]+$|^\w+\.py$")


def problems(words: list[str], page: str) -> list[str]:
    """What is wrong with a command, in words; `page` is the text around it, which may say what to save where."""
    program, rest = Path(words[0]).name, words[1:]
    missing = [word for word in rest if PATH.match(word) and not (ROOT / word).exists() and f"`{word}`" not in page]
    found = [f"no file {word}" for word in missing if f"# {word}\n" not in page]
    if program == "make":
        found += _make(rest)
    elif program in ("rere", "zenml", "mlflow"):
        found += _click(_group(program), [program], rest)
        if program == "zenml" and rest[:2] == ["pipeline", "run"]:
            found += [f"no {name}.py" for name in rest[2:3] if not (ROOT / f"{name}.py").exists()]
    elif program.startswith("python"):
        found += _python(rest)
    elif program in ("pip", "pip3") or words[:2] == ["uv", "pip"]:
        found += _extras(rest)
    elif program == "curl":
        found += _request(rest)
    elif program not in OUTSIDE | {"pytest"}:
        found.append(f"no program {program} that the documentation knows")
    return found


def _make(words: list[str]) -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    variables = set(re.findall(r"^([A-Z_]+) [?:]?=", makefile, re.M))
    found = [f"no target {word}" for word in words if "=" not in word and word not in targets]
    return found + [f"no variable {word}" for word in words if "=" in word and word.split("=")[0] not in variables]


def _click(command: click.Command, path: list[str], words: list[str]) -> list[str]:
    """Follows subcommands; names and numbers of options and arguments only: values are often placeholders."""
    context = click.Context(command, info_name=path[-1], **command.context_settings)
    if isinstance(command, click.Group):
        context.allow_interspersed_args = False
    try:
        given, left, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return [f"{' '.join(path)}: {error.format_message()}"]
    if not isinstance(command, click.Group):
        return [f"{' '.join(path)}: what is {word}?" for word in left]
    if not left:
        return [] if given else [f"{' '.join(path)}: no subcommand"]
    inner = command.get_command(context, left[0])
    if inner is None:
        return [f"{' '.join(path)}: no command {left[0]}"]
    return _click(inner, [*path, left[0]], left[1:])


@cache
def _group(program: str) -> click.Command:
    module = {"rere": "commands.main", "zenml": "zenml.cli.cli"}.get(program, "mlflow.cli")
    cli = importlib.import_module(module).cli
    assert isinstance(cli, click.Command)
    return cli


def _python(words: list[str]) -> list[str]:
    if words[:1] == ["-c"]:
        compile(words[1], "-c", "exec")
        return []
    if words[:1] != ["-m"]:
        return []
    module, options = words[1], [word for word in words[2:] if word.startswith("-")]
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        return [f"no module {module}"]
    if not (source := Path(spec.origin)).is_relative_to(ROOT):
        return []
    parts = [source, source.with_name("common.py")]
    text = "".join(part.read_text(encoding="utf-8") for part in parts if part.exists())
    return [f"{module}: no option {option}" for option in options if f'"{option}"' not in text]


def _extras(words: list[str]) -> list[str]:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = [name for word in words for group in re.findall(r"^\.\[(.+)\]$", word) for name in group.split(",")]
    return [f"no extra {name}" for name in asked if name not in known]


def _request(words: list[str]) -> list[str]:
    """The body of a request to our own service fits its schema."""
    from rere.serving.http.schemas import RecommendRequest

    if "-d" not in words:
        return []
    body = json.loads(words[words.index("-d") + 1])
    if any(word.endswith("/recommend") for word in words):
        RecommendRequest.model_validate(body)
    return []
