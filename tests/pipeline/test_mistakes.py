"""No mistake in a configuration or an argument ends in a traceback: malformed input in, one clear message out."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from commands.main import cli
from pipelines.batch import batch_pipeline
from pipelines.checked import settings_of
from pipelines.preflight import preflight
from pipelines.rere import rere_pipeline
from pipelines.retrain import retrain_pipeline
from pipelines.tune import tune_pipeline
from rere.config.reading import read_yaml, validated
from rere.errors import RereError
from rere.serving.config import ServingConfig

CONFIGS = Path(__file__).parents[2] / "configs"
PIPELINES = {"batch": batch_pipeline, "retrain": retrain_pipeline, "tune": tune_pipeline}
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def message(error: RereError) -> str:
    """The message, which says what was expected, what came, and what to do."""
    said = str(error)
    assert said.startswith("Expected ")
    assert "; got " in said
    assert ". Fix: " in said
    assert "Traceback" not in said
    return said


def paths_of(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in nested mappings and lists."""
    if path:
        yield path
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from paths_of(value, (*path, key))


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIGS.glob("*.yaml")))
@MANY
@given(data=st.data())
def test_a_configuration_with_one_wrong_value_or_key(name: str, data: st.DataObject, tmp_path: Path) -> None:
    content = copy.deepcopy(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")))
    path = data.draw(st.sampled_from(list(paths_of(content))))
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    if isinstance(holder, dict) and data.draw(st.booleans()):
        holder[data.draw(st.text())] = holder.pop(path[-1])
    else:
        holder[path[-1]] = data.draw(VALUES)
    try:
        text = yaml.safe_dump(content, allow_unicode=True)
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    except UnicodeEncodeError:
        assume(False)
    pipeline = PIPELINES.get(name, rere_pipeline)
    try:
        found = settings_of(pipeline, tmp_path / "run.yaml")
        if pipeline is not batch_pipeline:
            preflight(found)
    except RereError as error:
        message(error)


@pytest.mark.parametrize("name", ["nano", "batch"])
@MANY
@given(data=st.data())
def test_a_file_with_something_put_into_it(name: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = (CONFIGS / f"{name}.yaml").read_bytes()
    position = data.draw(st.integers(0, len(whole)))
    more = data.draw(
        st.binary(max_size=8) | st.sampled_from([b"\t", b"{", b"[", b"'", b"&a", b"*a", b"- ", b": ", b"!!x "])
    )
    (tmp_path / "run.yaml").write_bytes(whole[:position] + more + whole[position + data.draw(st.integers(0, 40)) :])
    for read in (
        lambda path: settings_of(PIPELINES.get(name, rere_pipeline), path),
        lambda path: validated(ServingConfig, read_yaml(path), str(path)),
    ):
        try:
            read(tmp_path / "run.yaml")
        except RereError as error:
            message(error)


def commands() -> list[str]:
    """All of them, as `rere --help` lists them: those of `commands/`, new ones too."""
    return cli.list_commands(click.Context(cli))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, whose registry is this test process's."""
    (tmp_path / ".rere").mkdir()
    (tmp_path / "directory").mkdir()
    (tmp_path / "broken.yaml").write_text("parameters:\n\tsft: 3\n", encoding="utf-8")
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


NEED_NOTHING = {"clean"}  # right in an empty project, and without any argument


@pytest.mark.parametrize("name", commands())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_command_with_malformed_arguments(name: str, data: st.DataObject, project: Path) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    words = st.sampled_from(
        ["", "o'shop", 'o"shop', "-1", "99", "a/b", "..", "x" * 3000, "\x1b[31m", "\u200b"]
    ) | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
    files = st.sampled_from(["broken.yaml", "directory", "none.yaml", "broken.yaml/in", ""])
    arguments: list[str] = []
    for parameter in command.params:
        value = data.draw(files if isinstance(parameter.type, click.Path) else words)
        if isinstance(parameter, click.Argument):
            arguments.append(value.lstrip("-") or "7")
        elif not getattr(parameter, "is_flag", False) and (parameter.required or data.draw(st.booleans())):
            arguments += [max(parameter.opts, key=len), value]
    surplus = [["--no-such-option"], ["one", "too", "many"], *([[]] if arguments or name not in NEED_NOTHING else [])]
    arguments += data.draw(st.sampled_from(surplus))
    done = CliRunner().invoke(cli, [name, *arguments], env={"MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"]})
    assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)
    assert done.exit_code in (1, 2), (arguments, done.output)
    assert done.output.count("Error: ") == 1, (arguments, done.output)
    assert "Traceback" not in done.output
