"""The batch step by its entrypoint: what it writes, counts and refuses, with a tiny model in the registry's place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ops.registry import mlflow_registry
from rere.errors import RereError
from rere.serving.config import BatchConfig, UserTable
from rere.serving.edits_log import Change, EditsLog
from steps.recommend_batch import recommend_batch
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
    monkeypatch.setattr("ops.registry.alias.AliasSource", lambda model, alias: source)
    return facts


def table_of(place: Path, histories: dict[str, list[str]]) -> UserTable:
    path = place / "users.parquet"
    pd.DataFrame({"user_id": list(histories), "history": list(histories.values())}).to_parquet(path)
    return UserTable(path=path)


def test_users_are_answered_or_counted_and_what_the_service_removed_stays_out(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
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
