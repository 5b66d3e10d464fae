"""The champion: one log, two registries that follow it, whatever is killed where."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from commands.main import cli
from rere.errors import RereError
from steps import champion, registry

NAME = "model"


class Stage:
    """ZenML's side, kept in memory: which version is in production."""

    version: str | None = None


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Three registered versions in a real MLflow store."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient()
    client.create_registered_model(NAME)
    for n in range(3):
        client.create_model_version(NAME, source=str(tmp_path / str(n)))
    held = Stage()
    monkeypatch.setenv(champion.LOCKS, str(tmp_path / "locks"))
    monkeypatch.setattr(champion, "_set_stage", lambda name, version: setattr(held, "version", version))
    monkeypatch.setattr(champion, "_stage_version", lambda name: held.version)
    yield held
    mlflow.set_tracking_uri(before)


def test_a_move_names_the_version_in_both_and_says_who_and_why(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    event = champion.move(NAME, "2", "bob", "better by .01")
    assert registry.champion_version(NAME) == stage.version == "2"
    assert event is not None
    assert (event.previous, event.who, event.reason) == ("1", "bob", "better by .01")
    assert [past.version for past in champion.events(NAME)] == ["1", "2"]


def test_the_present_champion_is_not_promoted_twice(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    assert champion.move(NAME, "1", "ada", "again") is None
    assert len(champion.events(NAME)) == 1


def test_rolling_back_goes_to_who_was_there_before(stage: Stage) -> None:
    for version in "123":
        champion.move(NAME, version, "ada", "next")
    assert champion.roll_back(NAME, "bob", "complaints").version == "2"
    assert registry.champion_version(NAME) == stage.version == "2"
    assert champion.roll_back(NAME, "bob", "more complaints").previous == "2"
    assert [event.version for event in champion.events(NAME)] == ["1", "2", "3", "2", "3"]


def test_there_is_nothing_before_the_first(stage: Stage) -> None:
    with pytest.raises(RereError, match="an earlier champion"):
        champion.roll_back(NAME, "bob", "why not")
    champion.move(NAME, "1", "ada", "first")
    with pytest.raises(RereError, match="version 1 is the first"):
        champion.roll_back(NAME, "bob", "why not")


@pytest.mark.parametrize("broken", ["alias", "stage"])
def test_a_crash_between_the_log_and_a_registry_is_repaired(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    champion.move(NAME, "1", "ada", "first")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if broken == "alias":
            patch.setattr(registry, "set_alias", crash)
        else:
            patch.setattr(champion, "_set_stage", crash)
        with pytest.raises(KeyboardInterrupt):
            champion.move(NAME, "2", "bob", "better")
    assert stage.version == "1"  # the two disagree with the log
    assert champion.repair(NAME)
    assert registry.champion_version(NAME) == stage.version == "2"
    assert not champion.repair(NAME)
    assert [event.version for event in champion.events(NAME)] == ["1", "2"]  # the move is in the log once


def test_a_decision_against_another_champion_is_refused(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    champion.move(NAME, "2", "ada", "second")
    with pytest.raises(RereError, match="somebody else promoted"):
        champion.move(NAME, "3", "bob", "better than 1", expected="1")
    assert registry.champion_version(NAME) == "2"


def test_two_moves_at_once_one_says_so(stage: Stage, tmp_path: Path) -> None:
    place = tmp_path / "locks"
    place.mkdir()
    with (place / f"{NAME}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RereError, match="under way"):
            champion.move(NAME, "1", "ada", "first")
    assert champion.events(NAME) == []
    assert champion.move(NAME, "1", "ada", "first") is not None


def test_an_unknown_version_is_named(stage: Stage) -> None:
    with pytest.raises(RereError, match=r"3, 2, 1.*got 9"):
        champion.move(NAME, "9", "ada", "typo")


def test_the_commands_list_promote_and_roll_back(stage: Stage) -> None:
    def rere(*arguments: str) -> str:
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == 0, done.output
        return done.output

    assert {"versions", "promote", "rollback"} <= set(rere("--help").split())
    rere("promote", "1", "--model", NAME, "--reason", "first", "--by", "ada")
    assert "before: 1" in rere("promote", "3", "--model", NAME, "--reason", "better")
    assert "already" in rere("promote", "3", "--model", NAME, "--reason", "better")
    assert "1 is the champion again" in rere("rollback", "--model", NAME, "--reason", "complaints", "--by", "bob")
    listed = rere("versions", "--model", NAME)
    assert "rollback 1 (before: 3), by bob: complaints" in listed
    assert stage.version == "1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rollback", "--reason", "x"], "an earlier champion"),
        (["promote", "9", "--reason", "x"], "a registered version"),
        (["versions"], "run `make demo`"),
    ],
)
def test_a_command_that_cannot_says_why_and_fails(stage: Stage, arguments: list[str], message: str) -> None:
    name = "other" if arguments == ["versions"] else NAME
    done = CliRunner().invoke(cli, [*arguments, "--model", name])
    assert done.exit_code == 1
    assert message in done.output
