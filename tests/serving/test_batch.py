"""A table of users against one request a user."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rere.config.data import Tables
from rere.errors import RereError
from rere.serving.batch import read_users, recommend_users, write_parquet
from rere.serving.config import BatchConfig, UserEvents, UserTable
from rere.serving.live import CatalogEdits
from tests.serving.helpers import TITLES, tiny_deployment


@pytest.mark.parametrize("seen", ["include", "exclude"])
def test_the_table_is_that_of_one_request_a_user(seen: str) -> None:
    deployment = tiny_deployment("7")
    deployment.snapshot = CatalogEdits({}, frozenset({"i9"})).apply(deployment.snapshot)
    histories = [["i1"], ["i2", TITLES[3], "gone"], ["nothing"], ["i5", "i4", "i3", "i2", "i1"]]
    users = pd.DataFrame({"user_id": ["c", "a", "x", "b"], "history": histories})
    table, unknown = recommend_users(deployment, users, BatchConfig(k=4, seen=seen, batch_users=2))
    assert unknown == ["x"]
    assert table["user_id"].drop_duplicates().tolist() == ["c", "a", "b"]
    assert set(table["model_version"]) == {"7"}
    for user, history in {"c": [1], "a": [2, 3], "b": [5, 4, 3, 2, 1]}.items():
        barred = frozenset(history) if seen == "exclude" else frozenset()
        [alone] = deployment.rank([deployment.query(history, 4, barred)])
        rows = table[table["user_id"] == user]
        assert rows["item_id"].tolist() == [f"i{item}" for item in alone.items]
        assert rows["title"].tolist() == [TITLES[item] for item in alone.items]
        assert rows["score"].tolist() == pytest.approx(alone.scores, abs=1e-3)
        assert rows["rank"].tolist() == [1, 2, 3, 4]
        assert 9 not in alone.items


def test_users_from_a_table_and_from_interactions(tmp_path: Path) -> None:
    histories = pd.DataFrame({"user_id": [1, 2], "history": [["i1", "i2"], ["i3"]]})
    histories.to_parquet(tmp_path / "users.parquet")
    read = read_users(UserTable(path=tmp_path / "users.parquet"))
    assert read.to_dict("list") == {"user_id": ["1", "2"], "history": [["i1", "i2"], ["i3"]]}

    rows = [("b", "i1", 30), ("a", "i2", 5), ("b", "i3", 10)]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(tmp_path / "events.csv", index=False)
    pd.DataFrame({"item_id": ["i1", "i2", "i3"], "title": list("ABC")}).to_csv(tmp_path / "items.csv", index=False)
    source = Tables(interactions=tmp_path / "events.csv", items=tmp_path / "items.csv")
    read = read_users(UserEvents(source=source))
    assert read.to_dict("list") == {"user_id": ["a", "b"], "history": [["i2"], ["i3", "i1"]]}

    pd.concat([histories, histories]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(RereError, match="a row a user"):
        read_users(UserTable(path=tmp_path / "twice.parquet"))
    with pytest.raises(RereError, match=r"nowhere\.parquet"):
        read_users(UserTable(path=tmp_path / "nowhere.parquet"))


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.parquet"
    for number in (1, 2):
        write_parquet(pd.DataFrame({"a": [number]}), path)
        assert pd.read_parquet(path)["a"].tolist() == [number]
    assert [file.name for file in path.parent.iterdir()] == ["table.parquet"]
