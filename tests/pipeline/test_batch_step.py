"""The batch step by its entrypoint: what it writes, counts and refuses, with a tiny model in the registry's place."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ops.registry import mlflow_registry
from rere.errors import RereError
from rere.serving.answer_files import Counts
from rere.serving.config import BatchConfig, RayBatch, UserTable
from rere.serving.edits_log import Change, EditsLog
from rere.serving.live_catalog import CatalogEdits
from steps.recommend_batch import recommend_batch
from steps.recommend_on_ray import recommend_on_ray
from tests.serving.helpers import tiny_deployment


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The step's metadata; it runs in a project of its own, and the alias names a tiny model."""
    facts: dict[str, Any] = {}
    (tmp_path / ".rere").mkdir()
    monkeypatch.setenv("RERE_PROJECT", str(tmp_path))
    monkeypatch.setattr(mlflow_registry, "require_tracker", lambda: None)
    monkeypatch.setattr("steps.recommend_batch.log_metadata", facts.update)
    source = SimpleNamespace(first=lambda: tiny_deployment("7"))
    monkeypatch.setattr("ops.registry.alias.AliasSource", lambda model, alias, serving: source)
    return facts


def teller(said: list[str]) -> Any:
    """A logger that keeps its lines."""

    def tell(message: str, *values: object) -> None:
        said.append(message % values)

    return SimpleNamespace(info=tell, warning=tell)


def table_of(place: Path, histories: dict[str, list[str]]) -> UserTable:
    path = place / "users.parquet"
    pd.DataFrame({"user_id": list(histories), "history": list(histories.values())}).to_parquet(path)
    return UserTable(path=path)


def test_users_are_answered_or_counted_and_what_the_service_removed_stays_out(
    recorded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("steps.recommend_batch.logger", teller(said))
    log = EditsLog(tmp_path / ".rere" / "serving" / "m.json")
    with log.alone():
        log.append(Change.now(removed=[f"i{n}" for n in range(3, 39)]))
    users = table_of(tmp_path, {"a": ["i1", "gone"], "b": ["nothing"]})
    config = BatchConfig(users=users, model_name="m", k=9, output=tmp_path / "out" / "table.parquet")
    recommendations, unanswered = recommend_batch.entrypoint(config)
    assert set(recommendations["item_id"]) == {"i0", "i2", "i39"}
    assert unanswered["reason"].tolist() == ["no known item"]
    assert pd.read_parquet(tmp_path / "out" / "table.parquet")["unknown"].map(list).tolist() == [["gone"]] * 3
    assert pd.read_parquet(tmp_path / "out" / "table.unanswered.parquet")["user_id"].tolist() == ["b"]
    assert recorded["users_unanswered"] == {"no known item": 1}
    assert any(str(tmp_path / "out" / "table.unanswered.parquet") in line for line in said)
    assert (recorded["users"], recorded["users_answered"], recorded["unknown_entries"]) == (2, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edits_file": Path("wrong.json")}, r"changes of the catalogue at .*wrong\.json; got no such file"),
        ({"output": Path("/dev/null/table.parquet")}, "room and permission to write"),
        ({}, r"at least one user who gets recommendations; got none of 1 \(no known item: 1"),
    ],
)
def test_what_is_refused_is_explained(
    recorded: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config = BatchConfig(users=table_of(tmp_path, {"b": ["nothing"]}), model_name="m")
    with pytest.raises(RereError, match=message):
        recommend_batch.entrypoint(config.model_copy(update=change))


def test_on_ray_the_step_hands_over_and_tells_what_was_counted(
    recorded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    handed: list[Any] = []

    def answer(load: Any, config: BatchConfig, *, version: str, edits: CatalogEdits) -> Counts:
        handed.extend((pickle.loads(pickle.dumps(load)).args, version, edits))
        return Counts(users=9, answered=7, by_popularity=1, unknown_entries=4, reasons={"no user id": 2})

    monkeypatch.setattr("steps.recommend_on_ray.logger", teller(said))
    monkeypatch.setattr("steps.recommend_on_ray.log_metadata", recorded.update)
    monkeypatch.setattr("ops.registry.alias.AliasSource", lambda *_: SimpleNamespace(require=lambda: "7"))
    monkeypatch.setattr("rere.serving.batch_ray.recommend_on_ray", answer)
    config = BatchConfig(
        users=table_of(tmp_path, {"a": ["i1"]}), model_name="m", engine=RayBatch(address="h:1"), output=tmp_path / "out"
    )
    counted = recommend_on_ray.entrypoint(config)
    assert handed == [("m", "champion", "7", CatalogEdits()), "7", CatalogEdits()]
    assert (counted["users"], recorded["users_answered"], recorded["users_by_popularity"]) == (9, 7, 1)
    assert recorded["model"] == "models:/m/7"
    assert any("2 users get none: no user id" in line for line in said)
    assert any(str(tmp_path / "out") in line for line in said)
