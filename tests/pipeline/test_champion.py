"""The champion: one log, two registries that follow it, whatever is killed where."""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from commands.main import cli
from ops.registry import champion, champion_lock, champion_record, last_run, servable, zenml_registry
from ops.registry import mlflow_registry as registry
from ops.registry.anchor import find_anchor, follow_champion
from ops.registry.event_log import PREFIX, Event, sealed
from ops.registry.last_run import LastRun
from ops.registry.policy import policies, policy_of, set_policy
from ops.registry.status import status_of
from ops.registry.tags import VersionTags
from rere.catalog.index import CatalogIndex
from rere.config.backbone import ScratchModel
from rere.config.promotion import GateConfig
from rere.config.served_model import ServedModelConfig
from rere.data.validation_report import DriftRow
from rere.errors import RereError
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.recommenders.prior import Prior

NAME = "model"


class Stage:
    """ZenML's side, kept in memory: which version is in production, and what was written of each."""

    version: str | None = None

    def __init__(self) -> None:
        self.written: dict[str, dict[str, Any]] = {}  # by version
        self.gone: set[str] = set()  # versions that it doesn't have
        self.run: LastRun | None = None  # the last one

    def metadata_of(self, name: str, version: str) -> dict[str, Any]:
        return {} if version in self.gone else {"known": 1, **self.written.get(version, {})}

    def add_metadata(self, name: str, version: str, metadata: dict[str, Any]) -> None:
        self.written.setdefault(version, {}).update(metadata)

    def set_production(self, name: str, version: str) -> None:
        self.version = version

    def production_version(self, name: str) -> str | None:
        return self.version

    @property
    def copied(self) -> list[Event]:
        """The events that were copied from the log, in its order."""
        copies = {key: text for written in self.written.values() for key, text in written.items()}
        return [Event.model_validate_json(copies[key]) for key in sorted(copies)]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three registered versions in a real MLflow store, which takes seconds to make."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    client = MlflowClient()
    client.create_registered_model(NAME)
    for n in range(3):
        client.create_model_version(NAME, source=str(database.parent / str(n)))
    mlflow.set_tracking_uri(before)
    return database


@pytest.fixture
def stage(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A copy of that store, and ZenML's side."""
    before = mlflow.get_tracking_uri()
    shutil.copy2(registered, tmp_path / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    held = Stage()
    monkeypatch.setenv(champion_lock.LOCKS, str(tmp_path / "locks"))
    for side in ("metadata_of", "add_metadata", "set_production", "production_version"):
        monkeypatch.setattr(zenml_registry, side, getattr(held, side))
    monkeypatch.setattr(last_run, "last_run_of", lambda name: held.run)
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
    assert champion.roll_back(NAME, "bob", "more complaints").previous == "2"  # and not to 3 again
    assert [event.version for event in champion.events(NAME)] == ["1", "2", "3", "2", "1"]
    champion.move(NAME, "3", "ada", "mended")
    assert champion.roll_back(NAME, "bob", "not yet").version == "1"


def test_there_is_nothing_before_the_first(stage: Stage) -> None:
    with pytest.raises(RereError, match="an earlier champion"):
        champion.roll_back(NAME, "bob", "why not")
    champion.move(NAME, "1", "ada", "first")
    with pytest.raises(RereError, match=r"version 1, the first champion[.] Fix"):
        champion.roll_back(NAME, "bob", "why not")


def test_where_all_earlier_champions_were_deleted_that_is_said(stage: Stage) -> None:
    for version in "12":
        champion.move(NAME, version, "ada", "next")
    MlflowClient().delete_model_version(NAME, "1")
    with pytest.raises(RereError, match=r"version 2, and all before it were deleted: 1[.] Fix"):
        champion.roll_back(NAME, "bob", "why not")
    MlflowClient().delete_model_version(NAME, "2")
    with pytest.raises(RereError, match="version 2, which was deleted in MLflow, and all before it were deleted: 1"):
        champion.roll_back(NAME, "bob", "why not")


def test_where_the_only_champion_was_deleted_that_is_said(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    MlflowClient().delete_model_version(NAME, "1")
    with pytest.raises(RereError, match=r"version 1, the first champion, which was deleted in MLflow[.] Fix"):
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
            patch.setattr(zenml_registry, "set_production", crash)
        with pytest.raises(KeyboardInterrupt):
            champion.move(NAME, "2", "bob", "better")
    assert stage.version == "1"  # the two disagree with the log
    assert champion_record.repair(NAME)
    assert registry.champion_version(NAME) == stage.version == "2"
    assert not champion_record.repair(NAME)
    assert [event.version for event in champion.events(NAME)] == ["1", "2"]  # the move is in the log once


def test_a_version_whose_registration_was_cut_short_is_not_written_into_the_log(stage: Stage) -> None:
    stage.gone = {"2"}
    cut_short = r"in MLflow and in ZenML.*cut short.*run the pipeline again"
    with pytest.raises(RereError, match=cut_short):
        champion.move(NAME, "2", "ada", "early")
    with pytest.raises(RereError, match=cut_short):
        champion.decide(NAME, "2", "approve", "ada", "early")
    assert champion.events(NAME) == []


def test_a_champion_that_was_deleted_in_zenml_keeps_nobody_from_rolling_back(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    champion.move(NAME, "2", "ada", "second")
    stage.gone, stage.version = {"2"}, None
    assert not champion_record.repair(NAME)  # nothing that could be mended
    assert champion.roll_back(NAME, "bob", "it is gone").version == "1"
    assert registry.champion_version(NAME) == stage.version == "1"


def test_a_decision_against_another_champion_is_refused(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    champion.move(NAME, "2", "ada", "second")
    with pytest.raises(RereError, match="somebody else promoted"):
        champion.move(NAME, "3", "bob", "better than 1", expected="1")
    assert registry.champion_version(NAME) == "2"


def test_two_moves_at_once_one_says_so(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    with (folder / f"{NAME}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RereError, match="under way"):
            champion.move(NAME, "1", "ada", "first")
    assert champion.events(NAME) == []
    assert champion.move(NAME, "1", "ada", "first") is not None


def test_of_two_machines_that_decide_at_once_one_wins_and_no_word_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine reads the log before we write, and writes a moment before (or after) us."""
    champion.move(NAME, "1", "ada", "first")
    write = MlflowClient.set_registered_model_tag

    def beside(shift: int) -> None:
        def both(client: MlflowClient, name: str, key: str, value: str) -> None:
            number, _, moment = key.rpartition(".")
            beside = f"{number}.{int(moment) + shift:020d}"
            ours = Event.model_validate_json(value)
            theirs = sealed(beside, ours.model_copy(update={"version": "3", "who": "eve"}))
            write(client, name, key, value)
            write(client, name, beside, theirs.model_dump_json())

        monkeypatch.setattr(MlflowClient, "set_registered_model_tag", both)

    beside(-1)
    with pytest.raises(RereError, match="a moment earlier; this one doesn't count"):
        champion.move(NAME, "2", "bob", "better")
    assert [(event.version, event.who) for event in champion.events(NAME)] == [("1", "ada"), ("3", "eve")]
    champion_record.repair(NAME)
    assert registry.champion_version(NAME) == stage.version == "3"
    beside(1)
    assert champion.move(NAME, "2", "bob", "again") is not None
    assert registry.champion_version(NAME) == stage.version == "2"
    tags = MlflowClient().get_registered_model(NAME).tags
    assert len([key for key in tags if key.startswith(PREFIX)]) == 5  # all that was said is kept


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


def tagged(version: str, **tags: Any) -> None:
    registry.tag(NAME, version, VersionTags(**tags))


def rere(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [*arguments, "--model", NAME])
    return done.exit_code, done.output


def test_every_word_is_copied_to_the_other_registry_and_a_lost_copy_is_made_again(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    champion.decide(NAME, "2", "reject", "bob", "dull")
    assert stage.copied == champion.events(NAME)
    stage.written["2"].clear()  # killed between the two
    assert champion_record.repair(NAME)
    assert stage.copied == champion.events(NAME)
    assert not champion_record.repair(NAME)
    assert registry.champion_version(NAME) == "1"  # a word moves nothing


def test_an_approval_is_recorded_and_promotes(stage: Stage) -> None:
    tagged("2", gate="passed", judged_against="")
    code, output = rere("approve", "2", "--by", "ada", "--reason", "reads well")
    assert code == 0, output
    assert [(event.action, event.who) for event in champion.events(NAME)] == [("approve", "ada"), ("promote", "ada")]
    assert registry.champion_version(NAME) == stage.version == "2"


def test_no_approval_without_a_passed_gate_or_against_another_champion(stage: Stage) -> None:
    tagged("2", gate="failed", judged_against="")
    code, output = rere("approve", "2", "--reason", "please")
    assert code == 1
    assert "whose gate passed" in output
    champion.move(NAME, "1", "ada", "first")
    tagged("2", gate="passed", judged_against="")
    code, output = rere("approve", "2", "--reason", "please")
    assert code == 1
    assert "version 1" in output
    assert registry.champion_version(NAME) == "1"
    assert [event.action for event in champion.events(NAME)] == ["promote"]


def test_an_approval_that_somebody_overtakes_moves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged("2", gate="passed", judged_against="")
    decide = champion.decide

    def overtaken(*arguments: Any) -> Any:
        word = decide(*arguments)
        champion.move(NAME, "3", "eve", "a moment earlier")
        return word

    monkeypatch.setattr(champion, "decide", overtaken)
    code, output = rere("approve", "2", "--by", "ada", "--reason", "reads well")
    assert code == 1
    assert "somebody else promoted meanwhile" in output
    assert registry.champion_version(NAME) == stage.version == "3"


def test_a_rejected_version_is_not_the_challenger_and_stays_down_until_a_person_lifts_it(stage: Stage) -> None:
    registry.set_alias(NAME, registry.CHALLENGER, "2")
    code, output = rere("reject", "2", "--by", "bob", "--reason", "dull")
    assert code == 0, output
    assert registry.get(NAME, "2").aliases == ()
    turned_down = champion.withdrawn(NAME, "2")
    assert turned_down is not None
    assert turned_down.reason == "dull"
    champion.decide(NAME, "2", "approve", "ada", "seen again")
    assert champion.withdrawn(NAME, "2") is None


def test_rejected_then_retrained_to_the_same_weights_by_other_code_it_is_still_down(
    stage: Stage, world_catalog: CatalogIndex, tmp_path: Path
) -> None:
    served = {"history_items": 10, "beams": 5, "normalisation": "vocab"}
    prior = Prior(np.ones(len(world_catalog.items)), ServedModelConfig())
    first, again = (a_model(world_catalog, tmp_path / name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0)))
    assert first.sums() != again.sums()
    tagged("2", fingerprint=servable.content_of(first, world_catalog, prior, served))
    rere("reject", "2", "--by", "bob", "--reason", "dull")
    version = registry.find_version(NAME, servable.content_of(again, world_catalog, prior, served))
    assert version == "2"
    assert champion.withdrawn(NAME, version) is not None
    other = a_model(world_catalog, tmp_path / "c", 1.0, seed=1)
    assert registry.find_version(NAME, servable.content_of(other, world_catalog, prior, served)) is None


def a_model(catalog: CatalogIndex, directory: Path, seconds: float, seed: int = 0) -> Checkpoint:
    model = load_model(ScratchModel(layers=1, width=8, heads=1), len(catalog.tokenizer), seed)
    return save_checkpoint(model, directory, [{"update": 1, "tokens_per_second": seconds}], {"seconds": seconds})


def test_what_people_rolled_back_from_no_run_promotes_again(stage: Stage) -> None:
    champion.move(NAME, "1", "the gate", "passed")
    champion.move(NAME, "2", "the gate", "passed")
    champion.roll_back(NAME, "ada", "users complain")
    assert champion.withdrawn(NAME, "2") is not None
    assert champion.withdrawn(NAME, "1") is None


def test_a_version_that_was_deleted_in_mlflow_stops_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for version in "123":
        champion.move(NAME, version, "ada", "next")
    for version in "23":  # the champion and the one before it
        MlflowClient().delete_model_version(NAME, version)
    assert champion_record.lost_champion(NAME) == "3"
    assert not champion_record.repair(NAME)
    assert "Version 3 of model, the champion by the log, was deleted in MLflow: nothing is moved" in caplog.text
    assert rere("versions")[0] == 0
    assert champion.roll_back(NAME, "bob", "it is gone").version == "1"
    assert champion_record.lost_champion(NAME) is None
    assert "Version 2 of model was deleted in MLflow: passed over" in caplog.text
    assert registry.champion_version(NAME) == stage.version == "1"


def test_where_every_version_was_deleted_the_log_and_what_happened_are_still_told(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    follow_champion(NAME, "1", surely_better=True)
    for version in "123":
        MlflowClient().delete_model_version(NAME, version)
    for command, told in (("status", "champion: none"), ("versions", "promote 1, by ada: first")):
        code, output = rere(command)
        assert code == 0, output
        assert "Version 1 of model, the champion by the log, was deleted in MLflow" in output
        assert told in output
    assert json.loads(CliRunner().invoke(cli, ["versions", "--json", "--model", NAME]).stdout)["versions"] == []


def test_a_person_may_approve_what_waits_for_a_lost_champion(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    assert champion_record.lost_champion(NAME) is None
    MlflowClient().delete_model_version(NAME, "1")
    tagged("2", gate="passed", judged_against="")
    code, output = rere("approve", "2", "--by", "ada", "--reason", "reads well")
    assert code == 0, output
    assert registry.champion_version(NAME) == stage.version == "2"
    assert champion_record.lost_champion(NAME) is None


def test_an_alias_set_by_hand_is_said_by_what_lists_and_moved_back_by_what_decides(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    champion.move(NAME, "1", "ada", "first")
    registry.set_alias(NAME, registry.CHAMPION, "3")  # by hand
    stage.version = "3"
    said = "alias `champion` of model names version 3, but the log says version 1, which counts; if version 3 should"
    code, output = rere("versions")
    assert code == 0
    assert said in output
    assert "ZenML's stage `production` of model is version 3's" in output
    assert registry.champion_version(NAME) == stage.version == "3"  # only looked at
    assert not caplog.records
    assert champion_record.repair(NAME)
    assert f"{said} be champion: `rere promote 3`. It is set to that now." in caplog.text
    assert registry.champion_version(NAME) == stage.version == "1"
    assert champion_record.disagreements(NAME) == []


def test_scripts_read_versions_and_the_log_as_json(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    tagged("1", gate="passed", metric="ndcg@10", value=0.05, windows="a")
    tagged("2", gate="passed", metric="ndcg@10", value=0.06, windows="b")
    done = CliRunner().invoke(cli, ["versions", "--json", "--model", NAME])
    told = json.loads(done.stdout)
    assert [one["version"] for one in told["versions"]] == ["3", "2", "1"]
    assert (told["versions"][2]["aliases"], told["versions"][2]["value"]) == (["champion"], 0.05)
    assert [event["reason"] for event in told["log"]] == ["first"]
    (warning,) = told["warnings"]
    assert "different splits" in warning
    assert warning.endswith("2; 1.")
    assert f"Warning: {warning}" in rere("versions")[1]
    tagged("2", windows="a")
    assert "Warning" not in rere("versions")[1]


def test_the_status_says_who_is_champion_for_how_long_and_what_holds(stage: Stage) -> None:
    tagged("1", gate="passed", metric="ndcg@10", value=0.05)
    champion.move(NAME, "1", "ada", "first")
    follow_champion(NAME, "1", surely_better=True)
    set_policy(NAME, GateConfig(), "ada", "the first")
    champion.decide(NAME, "2", "reject", "bob", "dull")
    moved = datetime.fromisoformat(champion.events(NAME)[0].time)
    now = status_of(NAME, now=moved + timedelta(days=3))
    assert (now.champion, now.days, now.value, now.anchor, now.policy) == ("1", 3, 0.05, "1", 1)
    assert now.last is not None
    assert (now.last.action, now.last.version) == ("reject", "2")
    code, output = rere("status")
    assert code == 0, output
    assert "champion: version 1, for 0.0 days, ndcg@10 0.0500, gate passed" in output
    assert "challenger: none" in output
    assert json.loads(rere("status", "--json")[1])["champion"] == "1"
    assert "last run: none" in output


def test_the_status_says_how_the_last_run_went_and_how_far_its_data_had_moved(stage: Stage) -> None:
    moved = (
        DriftRow(metric="interactions", previous=90, current=100, psi=None),
        DriftRow(metric="user activity", previous=9.5, current=10, psi=0.0123),
        DriftRow(metric="item popularity", previous=4, current=7, psi=0.31),
    )
    known = {"name": "night-7", "started": "2026-11-27T03:17:00"}
    stage.run = LastRun(**known, status="completed", failed=(), warned=1, drift=moved)
    output = rere("status")[1]
    assert "last run: night-7, completed, started 2026-11-27T03:17:00" in output
    assert "drift: most in item popularity, stability index 0.310; checks of the data that warned: 1" in output
    assert json.loads(rere("status", "--json")[1])["run"]["drift"][2]["psi"] == 0.31
    stage.run = LastRun(**known, status="completed", failed=(), warned=0, drift=())
    assert "drift: nothing to compare with" in rere("status")[1]
    stage.run = LastRun(**known, status="failed", failed=("validate",), warned=0, drift=None)
    output = rere("status")[1]
    assert "night-7, failed in validate" in output
    assert "drift: unknown, for no data of the last run passed" in output


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (200, {"status": "ready", "model_version": "1", "wanted_version": "1"}, ""),
        (200, {"status": "ready", "model_version": "2", "wanted_version": "1"}, "serves version 2, which isn't"),
        (503, {"status": "stopping", "model_version": "1", "wanted_version": "1"}, "is stopping"),
        (404, {"detail": "Not Found"}, "gave no answer that is one"),
        (200, {"hello": "you"}, "gave no answer that is one"),
    ],
)
def test_the_status_asks_a_service_what_it_serves(stage: Stage, code: int, body: dict[str, str], said: str) -> None:
    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    champion.move(NAME, "1", "ada", "first")
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        warnings = status_of(NAME, f"http://127.0.0.1:{server.server_port}/").warnings
        server.shutdown()
        thread.join()
    assert said in " ".join(warnings)
    assert bool(said) == bool(warnings)


def test_a_service_address_that_is_none_is_refused(stage: Stage) -> None:
    code, output = rere("status", "--service", "localhost:5001")
    assert code == 1
    assert "http://localhost:5001" in output


def test_a_service_without_a_port_and_one_that_speaks_something_else_are_warned_of(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    assert "gave no answer that is one: InvalidURL" in " ".join(status_of(NAME, "http://localhost:x").warnings)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"220 mail\r\n"))
        thread.start()
        warnings = status_of(NAME, f"http://127.0.0.1:{server.getsockname()[1]}").warnings
        thread.join()
    assert "gave no answer that is one: " in " ".join(warnings)


def written(number: int) -> tuple[str, str]:
    """The log's tag of that number, and its text."""
    tags = MlflowClient().get_registered_model(NAME).tags
    (key,) = [key for key in tags if key.startswith(f"{PREFIX}{number:06d}.")]
    return key, tags[key]


def test_an_entry_of_the_log_that_is_none_is_said_and_a_person_goes_on(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    champion.move(NAME, "1", "ada", "first")
    MlflowClient().set_registered_model_tag(NAME, f"{PREFIX}000002.x", "torn")
    assert [event.version for event in champion.events(NAME)] == ["1"]
    fault, remedy = champion_record.disagreements(NAME)
    assert fault == f"The log of {NAME}: the entry event.000002.x is no entry, and left out."
    assert "nobody knows whom the log of model has as champion" in remedy
    registry.set_alias(NAME, registry.CHAMPION, "3")  # as the torn entry may have said
    assert not champion_record.repair(NAME)
    assert registry.champion_version(NAME) == "3"  # nothing is moved in doubt
    assert fault in caplog.text
    champion.move(NAME, "2", "ada", "settled")
    assert [event.version for event in champion.events(NAME)] == ["1", "2"]
    assert registry.champion_version(NAME) == stage.version == "2"
    assert champion_record.disagreements(NAME) == [fault]  # the torn entry stays told; the later ones hold


@pytest.mark.parametrize("number", [1, 2])
def test_an_altered_entry_is_said_and_moves_nothing_where_it_is_the_last_move(stage: Stage, number: int) -> None:
    champion.move(NAME, "1", "ada", "first")
    champion.move(NAME, "2", "ada", "second")
    assert champion_record.disagreements(NAME) == []
    key, text = written(number)
    MlflowClient().set_registered_model_tag(NAME, key, text.replace(f'"version":"{number}"', '"version":"3"'))
    said = champion_record.disagreements(NAME)
    assert said[0] == f"The log of {NAME}: the entry {key} was altered since it was written."
    assert any("nobody knows" in sentence for sentence in said) == (number == 2)
    assert not champion_record.repair(NAME)
    assert registry.champion_version(NAME) == stage.version == "2"
    code, output = rere("versions")
    assert code == 0
    assert f"Warning: {said[0]}" in output
    assert rere("promote", "2", "--reason", "looked into it")[0] == 0
    assert len(champion_record.disagreements(NAME)) == 1
    assert not champion_record.repair(NAME)


def test_an_entry_that_was_removed_or_written_anew_is_said(stage: Stage) -> None:
    for version in "123":
        champion.move(NAME, version, "ada", "next")
    key, text = written(2)
    forged = sealed(key, Event.model_validate_json(text).model_copy(update={"who": "eve"}))
    MlflowClient().set_registered_model_tag(NAME, key, forged.model_dump_json())  # its own digest is right
    third = written(3)[0]
    said = f"The log of {NAME}: the entry {third} doesn't follow the one before it: an entry was removed, added or"
    assert champion_record.disagreements(NAME)[0].startswith(said)
    MlflowClient().delete_registered_model_tag(NAME, key)
    assert champion_record.disagreements(NAME)[0].startswith(said)


def test_a_log_that_is_older_than_the_chain_goes_on_as_one(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    key, text = written(1)
    old = Event.model_validate_json(text).model_dump_json(exclude={"follows", "digest"})
    MlflowClient().set_registered_model_tag(NAME, key, old)
    champion.move(NAME, "2", "ada", "second")
    assert champion_record.disagreements(NAME) == []
    MlflowClient().set_registered_model_tag(NAME, key, old.replace("ada", "eve"))
    assert "doesn't follow" in champion_record.disagreements(NAME)[0]


def test_an_empty_reason_is_refused(stage: Stage) -> None:
    with pytest.raises(RereError, match="a reason for the log"):
        champion.move(NAME, "1", "ada", " ")
    with pytest.raises(RereError, match="a reason for the log"):
        champion.decide(NAME, "1", "reject", "ada", "")
    assert champion.events(NAME) == []


def test_the_champion_is_rolled_back_and_not_rejected(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    code, output = rere("reject", "1", "--reason", "dull")
    assert code == 1
    assert "rere rollback" in output


def test_the_first_champion_is_judged_against_none(stage: Stage) -> None:
    champion.move(NAME, "1", "ada", "first")
    with pytest.raises(RereError, match="no version as the champion"):
        champion.move(NAME, "2", "the gate", "passed", expected="")


def test_a_review_is_written_to_a_file(stage: Stage, tmp_path: Path) -> None:
    mlflow.set_experiment("e")
    with mlflow.start_run() as run:
        mlflow.log_text("<h1>Review</h1>", "review.html")
    tagged("2", gate="passed", judged_against="", review_run=run.info.run_id, metric="ndcg@10", value=0.05)
    registry.set_alias(NAME, registry.CHALLENGER, "2")
    champion.decide(NAME, "2", "reject", "bob", "dull")
    code, output = rere("review", "--to", str(tmp_path / "pages"))
    assert code == 0, output
    assert (tmp_path / "pages" / f"review-{NAME}-2.html").read_text() == "<h1>Review</h1>"
    assert "gate passed, ndcg@10 0.0500" in output
    assert "by bob: dull" in output
    code, output = rere("review", "3", "--to", str(tmp_path))
    assert code == 1
    assert "none on record" in output


def test_scripts_read_a_review_and_the_policy_as_json(stage: Stage, tmp_path: Path) -> None:
    def told(*arguments: str) -> Any:
        done = CliRunner().invoke(cli, [*arguments, "--json", "--model", NAME])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    mlflow.set_experiment("e")
    with mlflow.start_run() as run:
        mlflow.log_text("<h1>Review</h1>", "review.html")
    tagged("2", gate="passed", judged_against="", review_run=run.info.run_id, metric="ndcg@10", value=0.05)
    champion.decide(NAME, "2", "reject", "bob", "dull")
    read = told("review", "2", "--to", str(tmp_path))
    assert (read["version"], read["gate"], read["metric"], read["value"]) == ("2", "passed", "ndcg@10", 0.05)
    assert Path(read["page"]).read_text() == "<h1>Review</h1>"
    assert [(event["action"], event["reason"]) for event in read["log"]] == [("reject", "dull")]
    assert (read["judged_against"], read["warnings"]) == (None, [])
    set_policy(NAME, GateConfig(), "ada", "the first")
    set_policy(NAME, GateConfig(guard_margin=0.5), "bob", "a sale week")
    policy = told("policy")
    assert [(one["who"], one["gate"]["guard_margin"]) for one in policy["policies"]] == [("ada", 0.01), ("bob", 0.5)]


def test_a_shell_completes_commands_and_options(stage: Stage) -> None:
    def offered(words: str, typed: int) -> set[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(typed), "_RERE_COMPLETE": "bash_complete"}
        done = CliRunner().invoke(cli, [], prog_name="rere", env=asked)
        return {line.partition(",")[2] for line in done.output.splitlines()}

    assert {"review", "rollback"} <= offered("rere r", 1)
    assert {"--model", "--json"} <= offered("rere status --", 2)


def test_a_diff_shows_what_differs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"1": {"settings": {"rl": {"beta": 0.1, "lr": 1}}}, "2": {"settings": {"rl": {"beta": 0.2, "lr": 1}}}}
    monkeypatch.setattr("ops.registry.compare.metadata_of", lambda name, version: known[version])
    tagged("1", gate="passed")
    tagged("2", gate="failed")
    code, output = rere("diff", "1", "2")
    assert code == 0, output
    assert "settings.rl.beta" in output
    assert "settings.rl.lr" not in output
    assert "failed" in output
    assert "settings.rl.lr" in rere("diff", "1", "2", "--all")[1]
    assert rere("diff", "1", "9")[0] == 1


def test_the_lock_is_the_projects_wherever_a_move_is_made(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (root / ".rere").mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.delenv(champion_lock.LOCKS)
    monkeypatch.setenv("RERE_PROJECT", str(root))
    monkeypatch.chdir(elsewhere)
    champion.move(NAME, "1", "ada", "first")
    assert [path.name for path in (root / ".rere" / "locks").iterdir()] == [f"{NAME}.lock"]
    assert list(elsewhere.iterdir()) == []


def test_the_policy_is_shown_and_only_a_person_changes_it(stage: Stage, tmp_path: Path) -> None:
    asked = ["policy", "--model", NAME]
    assert "yet" in CliRunner().invoke(cli, asked).output
    set_policy(NAME, GateConfig(), "the first run", "its gate")
    assert policy_of(NAME) == GateConfig()
    lax = tmp_path / "lax.yaml"
    lax.write_text("parameters: {promotion: {gate: {guard_margin: 0.5}}}\n")
    without = CliRunner().invoke(cli, [*asked, "--set", str(lax)])
    assert without.exit_code == 1
    assert "a reason" in without.output
    done = CliRunner().invoke(cli, [*asked, "--set", str(lax), "--by", "ada", "--reason", "a sale week"])
    assert "It asks less than before: guard_margin: 0.5 (policy: 0.01)." in done.output
    assert policy_of(NAME) == GateConfig(guard_margin=0.5)
    assert [policy.who for policy in policies(NAME)] == ["the first run", "ada"]
    assert "guard_margin: 0.5" in CliRunner().invoke(cli, asked).output


def test_a_policy_that_cannot_be_read_is_not_guessed(stage: Stage) -> None:
    MlflowClient().set_registered_model_tag(NAME, "policy.000001", "{}")
    with pytest.raises(RereError, match=r"policy\.000001"):
        policy_of(NAME)


def test_the_anchor_is_the_best_champion_on_record(stage: Stage) -> None:
    def moved(version: str, surely_better: bool) -> str | None:
        champion.move(NAME, version, "the gate", "every check passed")
        follow_champion(NAME, version, surely_better)
        return find_anchor(NAME).version

    assert find_anchor(NAME).note == ""
    assert moved("1", surely_better=False) == "1"  # the first
    assert moved("2", surely_better=False) == "1"  # as good or a little worse: losses are still counted from 1
    assert moved("3", surely_better=True) == "3"
    champion.roll_back(NAME, "ada", "angry mails")
    found = find_anchor(NAME)
    assert (found.version, found.lost) == (None, None)
    assert "Version 3, the best champion on record, was turned down since (angry mails)" in found.note


def test_a_deleted_anchor_is_said_and_only_a_decision_replaces_it(stage: Stage) -> None:
    champion.move(NAME, "1", "the gate", "every check passed")
    follow_champion(NAME, "1", surely_better=True)
    champion.move(NAME, "2", "the gate", "every check passed")
    follow_champion(NAME, "2", surely_better=False)
    MlflowClient().delete_model_version(NAME, "1")
    found = find_anchor(NAME)
    assert (found.version, found.lost) == (None, "1")
    assert "Version 1, the best champion on record, was deleted in MLflow" in rere("status")[1]
    code, output = rere("promote", "3", "--reason", "better")
    assert code == 0, output
    assert "Warning: Version 1, the best champion on record, was deleted in MLflow: losses are counted from" in output
    assert find_anchor(NAME).version == "3"


def test_a_person_may_accept_a_loss(stage: Stage) -> None:
    champion.move(NAME, "1", "the gate", "every check passed")
    follow_champion(NAME, "1", surely_better=True)
    asked = ["promote", "2", "--model", NAME, "--by", "ada", "--reason", "cheaper"]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    assert find_anchor(NAME).version == "1"
    assert CliRunner().invoke(cli, [*asked, "--as-anchor"]).exit_code == 0
    assert find_anchor(NAME).version == "2"


def test_a_diff_as_json_warns_of_different_splits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.registry.compare.metadata_of", lambda name, version: {})
    tagged("1", value=0.05, windows="a")
    tagged("2", value=0.06, windows="b")
    done = CliRunner().invoke(cli, ["diff", "1", "2", "--json", "--model", NAME])
    told = json.loads(done.stdout)
    assert told["facts"] == [{"fact": "value", "before": "0.05", "after": "0.06"}]
    assert "different splits" in told["warnings"][0]
    assert "Warning: Versions" in rere("diff", "1", "2")[1]
