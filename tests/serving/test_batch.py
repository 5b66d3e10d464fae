"""A table of users against one request per user; what isn't answered is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rere.data.sources.tables import Tables
from rere.errors import RereError
from rere.models.context import longest_possible
from rere.serving.batch import recommend_users, require_writable, unanswered_path, write_parquet
from rere.serving.config import BatchConfig, UserEvents, UserTable
from rere.serving.live_catalog import CatalogEdits
from rere.serving.users import read_users
from tests.serving.helpers import TITLES, tiny_deployment


def stored(directory: Path, users: list[Any], histories: list[Any]) -> UserTable:
    path = directory / "users.parquet"
    pd.DataFrame({"user_id": users, "history": histories}).to_parquet(path)
    return UserTable(path=path)


@pytest.mark.parametrize("seen", ["include", "exclude"])
def test_the_table_is_that_of_one_request_a_user(seen: str, tmp_path: Path) -> None:
    deployment = tiny_deployment("7")
    deployment.snapshot = deployment.edited(CatalogEdits({}, frozenset({"i9"})))
    histories = [["i1"], ["i2", TITLES[3], "gone"], ["nothing"], ["i5", "i4", "i3", "i2", "i1"]]
    users = read_users(stored(tmp_path, ["c", "a", "x", "b"], histories))
    config = BatchConfig.model_validate({"k": 4, "seen": seen, "batch_users": 2})
    result = recommend_users(deployment, users, config)
    table = result.recommendations
    assert result.reasons == {"no known item": 1}
    assert result.unknown_entries == 2
    assert result.unanswered[["row", "user_id"]].values.tolist() == [[2, "x"]]
    assert "none of them known ('nothing'" in result.unanswered["detail"][0]
    assert table["user_id"].drop_duplicates().tolist() == ["c", "a", "b"]
    assert set(table["model_version"]) == {"7"}
    for user, history in {"c": [1], "a": [2, 3], "b": [5, 4, 3, 2, 1]}.items():
        barred = frozenset(history) if seen == "exclude" else frozenset()
        [alone] = deployment.rank([deployment.query(history, 4, barred)]) or []
        rows = table[table["user_id"] == user]
        assert rows["item_id"].tolist() == [f"i{item}" for item in alone.items]
        assert rows["title"].tolist() == [TITLES[item] for item in alone.items]
        assert rows["score"].tolist() == pytest.approx(alone.scores, abs=1e-3)
        assert rows["rank"].tolist() == [1, 2, 3, 4]
        assert rows["unknown"].tolist() == [["gone"] if user == "a" else []] * 4
        assert 9 not in alone.items


def test_every_user_has_an_answer_or_a_reason(tmp_path: Path) -> None:
    users = ["a", "b", "c", None, "e", "f"]
    histories = [["i1", None], None, ["zzz"], ["i1"], [], [f"i{n}" for n in range(40)]]
    deployment = tiny_deployment()
    result = recommend_users(deployment, read_users(stored(tmp_path, users, histories)), BatchConfig(k=2))
    assert result.recommendations["user_id"].tolist() == ["a", "a"]
    assert result.unanswered[["row", "user_id", "reason"]].values.tolist() == [
        [1, "b", "no readable history"],
        [2, "c", "no known item"],
        [3, "", "no user id"],
        [4, "e", "no known item"],
        [5, "f", "no item left to recommend"],
    ]
    assert result.unanswered["unknown"].tolist() == [[], ["zzz"], [], [], []]
    deployment.model.context = longest_possible(deployment.snapshot.catalog, 1)
    result = recommend_users(deployment, read_users(stored(tmp_path, ["g"], [["i1"] * 3])), BatchConfig())
    assert result.reasons == {"history too long for the model": 1}


def test_an_output_without_rows_is_an_error_that_says_why(tmp_path: Path) -> None:
    users = read_users(stored(tmp_path, ["a", "b"], ["i1 i2", "i3"]))
    with pytest.raises(RereError, match=r"none of 2 \(no readable history: 2; row 0: .*users\.separator"):
        recommend_users(tiny_deployment(), users, BatchConfig()).require_rows()


@pytest.mark.parametrize(
    ("histories", "separator", "read"),
    [
        ([["i1", "i2"], ["i3"]], None, [["i1", "i2"], ["i3"]]),
        ([[1.0, 4.0], [3.0]], None, [["1", "4"], ["3"]]),
        (['["1", "4"]', "[3]"], None, [["1", "4"], ["3"]]),
        (["1 4", "3"], " ", [["1", "4"], ["3"]]),
    ],
)
def test_users_from_a_table(histories: list[Any], separator: str | None, read: list[Any], tmp_path: Path) -> None:
    users = stored(tmp_path, [1, 2], histories).model_copy(update={"separator": separator})
    found = read_users(users)
    assert found["user_id"].tolist() == ["1", "2"]
    assert found["history"].tolist() == read
    assert set(found["problem"]) == {""}


def test_users_from_a_table_of_text(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user_id,history\n007,\"['i1', 'i2']\"\nb,\n")
    found = read_users(UserTable(path=path))
    assert found["user_id"].tolist() == ["007", "b"]
    assert found["history"].tolist() == [["i1", "i2"], []]
    assert found["row"].tolist() == [2, 3]  # lines
    assert found["problem"].tolist() == ["", "no readable history"]


def test_whole_numbers_with_a_gap_stay_ids(tmp_path: Path) -> None:
    found = read_users(stored(tmp_path, [1.0, None], [["i1"], ["i2"]]))
    assert found["user_id"].tolist() == ["1", ""]
    assert found["problem"].tolist() == ["", "no user id"]


def test_users_from_interactions(tmp_path: Path) -> None:
    rows = [("b", "i1", 30), ("a", "i2", 5), ("b", "i3", 10), (None, "i3", 10)]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(tmp_path / "events.csv", index=False)
    pd.DataFrame({"item_id": ["i1", "i2", "i3"], "title": list("ABC")}).to_csv(tmp_path / "items.csv", index=False)
    source = Tables(interactions=tmp_path / "events.csv", items=tmp_path / "items.csv")
    read = read_users(UserEvents(source=source))
    assert read[["user_id", "history"]].values.tolist() == [["", ["i3"]], ["a", ["i2"]], ["b", ["i3", "i1"]]]
    assert read[["problem", "detail"]].values.tolist() == [["no user id", "1 interactions"], ["", ""], ["", ""]]


def test_tables_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RereError, match="one row per user"):
        read_users(stored(tmp_path, ["a", "a"], [["i1"], ["i2"]]))
    with pytest.raises(RereError, match=r"nowhere\.parquet"):
        read_users(UserTable(path=tmp_path / "nowhere.parquet"))
    (tmp_path / "junk.parquet").write_bytes(b"user_id,history")
    with pytest.raises(RereError, match="a readable users table"):
        read_users(UserTable(path=tmp_path / "junk.parquet"))
    pd.DataFrame({"user": ["a"], "history": [["i1"]]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(RereError, match="a column 'user_id'"):
        read_users(UserTable(path=tmp_path / "other.parquet"))


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.parquet"
    require_writable(path)
    for number in (1, 2):
        write_parquet(pd.DataFrame({"a": [number]}), path)
        assert pd.read_parquet(path)["a"].tolist() == [number]
    assert [file.name for file in path.parent.iterdir()] == ["table.parquet"]
    assert unanswered_path(path).name == "table.unanswered.parquet"


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path, tmp_path / "file" / "table.parquet"):
        with pytest.raises(RereError, match="output"):
            require_writable(directory)
    with pytest.raises(RereError, match="output"):
        write_parquet(pd.DataFrame({"a": [1]}), tmp_path / "file" / "table.parquet")
