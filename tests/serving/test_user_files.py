"""Users in Parquet files and their answers in parts, without a cluster."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from rere.errors import RereError
from rere.serving.answer_files import Counts, finished_parts, one_row_each, part_name, read_counts, write_part
from rere.serving.batch import recommend_users, require_writable, write_parquet
from rere.serving.batch_ray import recommend_on_ray
from rere.serving.config import BatchConfig, RayBatch, UserEvents, UserTable
from rere.serving.file_store import Files
from rere.serving.live_catalog import CatalogEdits
from rere.serving.user_files import plan, read_part, require_users_once
from rere.serving.users import read_users
from tests.serving.helpers import tiny_deployment

RAY = RayBatch(address="127.0.0.1:1", part_users=3)


def stored(place: Path, rows: int = 10, group: int = 4) -> Path:
    """Two files of users, in row groups; some can't be answered."""
    place.mkdir(parents=True)
    histories: list[Any] = [[f"i{n % 40}", "gone"] if n % 3 else [f"i{n % 40}"] for n in range(rows)]
    histories[1], histories[rows - 1] = ["nothing"], None
    table = pd.DataFrame({"user_id": [f"u{n}" for n in range(rows)], "history": histories, "other": 1})
    table[: rows // 2].to_parquet(place / "a.parquet", row_group_size=group)
    table[rows // 2 :].to_parquet(place / "b.parquet", row_group_size=group)
    (place / "_SUCCESS").write_text("")
    return place


@pytest.mark.parametrize("part_users", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("group", [1, 4, 100])
def test_parts_hold_each_user_once(part_users: int, group: int, tmp_path: Path) -> None:
    files = Files(stored(tmp_path / "users", 11, group))
    parts = plan(files, part_users)
    assert max(part.high - part.low for part in parts) <= part_users
    read = pd.concat([read_part(files, part, None) for part in parts], ignore_index=True)
    whole = read_users(UserTable(path=tmp_path / "users"))
    assert whole["row"].tolist() == [*range(5), *range(6)]  # in their files
    pd.testing.assert_frame_equal(read, whole.assign(row=range(11)))


@pytest.mark.parametrize("url", [False, True])
def test_answers_are_those_of_one_process(url: bool, tmp_path: Path) -> None:
    users = Files(stored(tmp_path / "users"))
    output = Files(f"memory://{tmp_path.name}/answers" if url else tmp_path / "answers")
    deployment, config = tiny_deployment("7"), BatchConfig(k=3)
    counts, record = [], {"model": "m 7"}
    assert finished_parts(output, record) == set()
    for part in plan(users, 3):
        chosen = read_part(users, part, None)
        result = recommend_users(deployment, chosen, config)
        counts.append(write_part(output, part, one_row_each(chosen, result, "7"), result))
        assert finished_parts(output, record) == set(range(part.number + 1))
        assert read_counts(output, part.number) == counts[-1]
    files = [output.path(part_name(number)) for number in range(len(counts))]
    found = pd.concat([pd.read_parquet(output.system.open(file)) for file in files], ignore_index=True)
    whole = recommend_users(deployment, read_users(UserTable(path=tmp_path / "users")), config)
    assert found["row"].tolist() == list(range(10))
    assert set(found["model_version"]) == {"7"}
    answered = found[found["reason"] == ""]
    expected = whole.recommendations.groupby("user_id", sort=False)
    assert answered["user_id"].tolist() == list(expected.groups)
    assert answered["item_ids"].map(list).tolist() == expected["item_id"].agg(list).tolist()
    assert answered["titles"].map(list).tolist() == expected["title"].agg(list).tolist()
    assert answered["based_on"].tolist() == expected["based_on"].first().tolist()
    assert answered["unknown"].map(list).tolist() == expected["unknown"].first().tolist()
    for scores, mine in zip(expected["score"].agg(list), answered["scores"], strict=True):
        assert list(mine) == pytest.approx(scores, abs=1e-3)
    rest = found[found["reason"] != ""][["user_id", "reason", "detail"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, whole.unanswered[["user_id", "reason", "detail"]], check_dtype=False)
    total = Counts.total(counts)
    assert total == Counts(10, len(answered), whole.by_popularity, whole.unknown_entries, whole.reasons)
    assert total.reasons == {"no known item": 1, "no readable history": 1}


def test_another_batch_and_foreign_files_are_refused(tmp_path: Path) -> None:
    output = Files(tmp_path / "answers")
    finished_parts(output, {"model": "m 7", "users": {}})
    with pytest.raises(RereError, match=r"another: model changed.*delete"):
        finished_parts(output, {"model": "m 8", "users": {}})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    with pytest.raises(RereError, match=r"notes\.txt"):
        finished_parts(Files(tmp_path / "mine"), {})


def test_a_changed_file_has_another_identity(tmp_path: Path) -> None:
    files = Files(stored(tmp_path / "users"))
    [first, _] = files.parquet()
    before = files.identity(first)
    assert files.identity(first) == before
    pd.DataFrame({"user_id": ["x"], "history": [["i1"]]}).to_parquet(first)
    assert files.identity(first) != before


def test_a_changed_object_has_another_identity_though_it_is_as_large(tmp_path: Path) -> None:
    files = Files(f"memory://{tmp_path.name}/users")
    files.write("a.parquet", b"before")
    before = files.identity(files.path("a.parquet"))
    assert files.identity(files.path("a.parquet")) == before
    files.write("a.parquet", b"after.")
    assert files.identity(files.path("a.parquet")) != before


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    contents = [bytes([n]) * 100_000 * (n + 1) for n in range(3)]

    def write_often(content: bytes) -> None:
        for _ in range(50):
            Files(tmp_path).write("part", content)
            assert (tmp_path / "part").read_bytes() in contents

    def put_tables(rows: int) -> None:
        for _ in range(20):
            require_writable(tmp_path / "table.parquet")
            write_parquet(pd.DataFrame({"n": range(rows)}), tmp_path / "table.parquet")

    with ThreadPoolExecutor(6) as pool:
        for done in [*(pool.submit(write_often, one) for one in contents), *(pool.submit(put_tables, 9) for _ in "ab")]:
            done.result()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "table.parquet"]


def test_a_batch_goes_on_after_a_kill_within_its_first_file(tmp_path: Path) -> None:
    (tmp_path / "._batch.json.0.new").write_text("{")
    assert finished_parts(Files(tmp_path), {"model": "m 7"}) == set()
    (tmp_path / "part-of-mine.parquet").write_text("")
    assert finished_parts(Files(tmp_path), {"model": "m 7"}) == set()


def test_users_that_come_twice_are_refused(tmp_path: Path) -> None:
    place = stored(tmp_path / "users")
    require_users_once(Files(place))
    pd.DataFrame({"user_id": [None, None, "u3"], "history": [["i1"]] * 3}).to_parquet(place / "c.parquet")
    with pytest.raises(RereError, match=r"one row per user.*several for \['u3'\]"):
        require_users_once(Files(place))


def test_places_that_hold_no_users_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RereError, match=r"Parquet files at .*got none"):
        plan(Files(tmp_path / "nowhere"), 3)
    (tmp_path / "users.csv").write_text("user_id,history\n")
    with pytest.raises(RereError, match=r"users\.csv.*convert it; CSV"):
        plan(Files(tmp_path), 3)
    (tmp_path / "users.csv").rename(tmp_path / "users.parquet")
    with pytest.raises(RereError, match="a readable users table"):
        plan(Files(tmp_path), 3)
    with pytest.raises(RereError, match="a file system for nosuch://bucket"):
        Files("nosuch://bucket/users")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": RAY}, "`output`"),
        ({"engine": RAY, "users": UserEvents(), "output": "a"}, "type: histories"),
        ({"output": "s3://bucket/answers"}, "URLs are for"),
        ({"users": {"type": "histories", "path": "s3://bucket/users"}}, "URLs are for"),
        ({"engine": {"type": "ray", "address": "head"}, "output": "a"}, "address"),
        ({"engine": {"type": "ray", "address": "a:1", "min_actors": 9}, "output": "a"}, "min_actors"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    users = {"type": "histories", "path": "users.parquet"}
    with pytest.raises(ValidationError, match=message):
        BatchConfig.model_validate({"users": users, **changes})


def test_urls_stay_as_they_are() -> None:
    users = {"type": "histories", "path": "s3://bucket/users"}
    config = BatchConfig.model_validate({"users": users, "engine": RAY, "output": "s3://bucket/answers"})
    assert BatchConfig.model_validate_json(config.model_dump_json()) == config
    assert config.users == UserTable(path="s3://bucket/users")
    assert config.output == "s3://bucket/answers"
    assert json.loads(config.model_dump_json())["output"] == "s3://bucket/answers"
    assert BatchConfig(output="a/b.parquet").output == Path("a/b.parquet")


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    config = BatchConfig(users=UserTable(path=stored(tmp_path / "users")), engine=RAY, output=tmp_path / "answers")
    with pytest.raises(RereError, match=r"a Ray cluster's head at 127\.0\.0\.1:1; got .*ray start"):
        recommend_on_ray(tiny_deployment, config, version="1", edits=CatalogEdits())
    assert not (tmp_path / "answers").exists()
