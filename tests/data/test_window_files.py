"""The row-per-window files of the reference code and of MiniOneRec."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rere.config.data import SplitConfig
from rere.config.ingest import IngestConfig
from rere.data.dataset import Dataset
from rere.data.flags import flag_windows
from rere.data.ingest import ingest
from rere.data.literal_lists import ids_of, read_lists
from rere.data.sources.window_files import GAPS, WindowFiles
from rere.data.windows import make_windows
from rere.errors import RereError
from tests.data.helpers import START

TITLES = {"1": "One", "2": "Two's", "3": "Three", "4": "Four"}
# (user, history, target, seconds after START): user a took 1 2 3 4, user b 2 1 4
ROWS = {
    "train": [("a", "1", "2", 10), ("a", "12", "3", 20), ("b", "2", "1", 15)],
    "valid": [("a", "123", "4", 30)],
    "test": [("b", "21", "4", 40)],
}


def write(folder: Path, layout: str, rows: dict[str, list[tuple[str, str, str, int]]] = ROWS) -> WindowFiles:
    """layout: `rere` (times, titles), `minionerec` (semantic ids, no times) or `bare` (ids only)."""
    for period, content in rows.items():
        lines = []
        for user, history, target, time in content:
            line: dict[str, object] = {"history_item_id": [int(n) for n in history], "item_id": target}
            if layout != "bare":
                titles = {"history_item_title": [TITLES[n] for n in history], "item_title": TITLES[target]}
                line = {"user_id": user, **titles, **line}
            if layout == "rere":
                times = [START + time - 10 * (len(history) - n) for n in range(len(history))]
                line |= {"history_rating": [5.0] * len(history), "rating": 5.0, "history_timestamp": times}
                line["timestamp"] = START + time
            if layout == "minionerec":
                line |= {"history_item_sid": [f"<a_{n}>" for n in history], "item_sid": f"<a_{target}>"}
            lines.append(line)
        with (folder / f"{period}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    return WindowFiles.model_validate({str(period): folder / f"{period}.csv" for period in rows})


def read(source: WindowFiles) -> Dataset:
    return ingest(IngestConfig(source=source))


def rows_of(dataset: Dataset) -> list[tuple[str, str, int, str]]:
    columns = ["user_id", "item_id", "timestamp", "period"]
    return list(dataset.interactions[columns].itertuples(index=False, name=None))


def test_reference_files(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "rere"))
    assert rows_of(dataset) == [
        ("a", "1", START, "train"),
        ("a", "2", START + 10, "train"),
        ("a", "3", START + 20, "train"),
        ("a", "4", START + 30, "valid"),
        ("b", "2", START + 5, "train"),
        ("b", "1", START + 15, "train"),
        ("b", "4", START + 40, "test"),
    ]
    assert dict(zip(dataset.items["item_id"], dataset.items["title"], strict=True)) == TITLES
    assert dataset.report.noticed == {}
    windows = make_windows(dataset, SplitConfig(history_items=2))
    assert windows.table["history"].tolist() == [["1"], ["1", "2"], ["2"], ["2", "3"], ["2", "1"]]
    assert windows.table["target"].tolist() == ["2", "3", "1", "4", "4"]
    assert windows.table["warm"].tolist() == [True, True, True, False, False]
    flags = flag_windows(windows, dataset)
    assert flags[["target_happened", "history_precedes", "trains_on_training", "target_unseen"]].all().all()


def test_minionerec_files_have_no_times(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "minionerec"))
    assert [row[:2] for row in rows_of(dataset)] == [("a", n) for n in "1234"] + [("b", n) for n in "214"]
    assert (dataset.interactions["timestamp"].diff().dropna() == 1).all()
    assert dataset.report.noticed == {
        "window rows without a time (made up from the order of the rows)": 5,
        "window rows with semantic IDs (item_sid), not used: `catalog.code` gives items their codes": 5,
    }
    assert dataset.windows is not None
    assert flag_windows(make_windows(dataset, SplitConfig()), dataset)["target_happened"].all()


@pytest.mark.parametrize("line", ["{title}\t{item}\n", "<a_{item}>\t{title}\t{item}\n"])
def test_titles_from_the_items_file_and_rows_without_users(tmp_path: Path, line: str) -> None:
    source = write(tmp_path, "bare")
    with pytest.raises(RereError, match="titles: an `items` file"):
        read(source)
    (tmp_path / "info.txt").write_text("".join(line.format(title=title, item=item) for item, title in TITLES.items()))
    dataset = read(source.model_copy(update={"items": tmp_path / "info.txt"}))
    said = "items with a semantic ID in the items file, not used"
    assert dataset.report.noticed.get(said, 0) == (len(TITLES) if line.startswith("<") else 0)
    assert dataset.items["title"].tolist() == list(TITLES.values())
    assert dataset.report.noticed["window rows without a user (each is a user of its own)"] == 5
    assert dataset.report.noticed["users without a training row (their first history takes its row's period)"] == 2
    assert dataset.interactions["user_id"].nunique() == 5
    # A test row's history isn't known to be of the training period, so it doesn't count as training.
    assert dataset.interactions["period"].value_counts().to_dict() == {"train": 7, "valid": 4, "test": 3}


def test_gaps_and_empty_histories_are_counted(tmp_path: Path) -> None:
    rows = {**ROWS, "test": [("b", "23", "4", 40), ("b", "", "4", 50)]}
    report = read(write(tmp_path, "rere", rows)).report
    assert report.dropped == {"window rows with an empty history": 1}
    assert report.noticed == {GAPS: 1}


def true_rows(users: int, length: int, most: int = 99) -> dict[str, list[tuple[str, str, str, int]]]:
    """Each user takes `length` of the items 1 to 4 in turn, from a place of its own; two last rows held out."""
    rows: dict[str, list[tuple[str, str, str, int]]] = {"train": [], "valid": [], "test": []}
    for user in range(users):
        items = "".join(str((user + n + (n * n) % 3) % 4 + 1) for n in range(length))
        for n in range(1, length):
            period = {length - 1: "test", length - 2: "valid"}.get(n, "train")
            rows[period].append((f"u{user}", items[max(n - most, 0) : n], items[n], 0))
    return rows


def sequences(dataset: Dataset) -> dict[str, str]:
    return {str(user): "".join(group) for user, group in dataset.interactions.groupby("user_id")["item_id"]}


@pytest.mark.parametrize("most", [99, 3])
@pytest.mark.parametrize("given", ["longest first", "shuffled"])
def test_rows_without_times_are_ordered_by_their_histories(given: str, most: int, tmp_path: Path) -> None:
    rows = true_rows(6, 9, most)
    dataset = read(write(tmp_path, "minionerec", rows))
    assert GAPS not in dataset.report.noticed
    random.Random(0).shuffle(rows["train"])
    if given == "longest first":
        rows["train"] = true_rows(6, 9, most)["train"][::-1]
    found = read(write(tmp_path, "minionerec", rows))
    assert sequences(found) == sequences(dataset)
    assert found.report.noticed["users whose rows were put in order by their histories"] == 6
    assert GAPS not in found.report.noticed
    flags = flag_windows(make_windows(found, SplitConfig()), found)
    assert (
        flags[["target_happened", "history_precedes", "trains_on_training", "target_unseen", "told_once"]].all().all()
    )


def test_window_rows_are_known_by_file_and_line(tmp_path: Path) -> None:
    rows = true_rows(4, 7)
    rows["train"] = [("u9", "", "1", 0), *rows["train"][::-1]]
    dataset = read(write(tmp_path, "minionerec", rows))
    assert dataset.windows is not None
    for row, window in enumerate(dataset.windows.itertuples()):
        file, line = dataset.origins["windows"].of(row)
        assert Path(file).name == f"{window.period}.csv"
        text = Path(file).read_text().splitlines()[line - 1]
        assert text.startswith(f"{window.user_id},")
        assert str([int(item) for item in window.history]) in text  # type: ignore[union-attr]


def test_rows_of_one_moment_are_ordered_by_their_histories(tmp_path: Path) -> None:
    rows = {**ROWS, "train": [("a", "1234", "1", 20), ("a", "123", "4", 20), ("a", "1", "2", 10), ("a", "12", "3", 20)]}
    rows["valid"] = [("a", "12341", "2", 30)]
    dataset = read(write(tmp_path, "rere", rows))
    assert sequences(dataset)["a"] == "123412"


def test_one_item_twice_at_one_time_is_no_leak(tmp_path: Path) -> None:
    # a takes 1, then 2 and 2 again in the same second: the first is a training target, the second a validation one.
    rows = {"train": [("a", "1", "2", 20), ("b", "1", "3", 5)], "valid": [("a", "12", "2", 20)]}
    rows["test"] = [("b", "13", "4", 40)]
    dataset = read(write(tmp_path, "rere", rows))
    flags = flag_windows(make_windows(dataset, SplitConfig()), dataset)
    assert flags[["target_happened", "history_precedes", "target_unseen", "told_once"]].all().all()
    # The same row in both files is one.
    rows["valid"] = [("a", "1", "2", 20)]
    dataset = read(write(tmp_path, "rere", rows))
    flags = flag_windows(make_windows(dataset, SplitConfig()), dataset)
    assert flags.loc[~flags["target_unseen"], "period"].tolist() == ["valid"]
    assert flags.loc[~flags["told_once"], "period"].tolist() == ["train", "valid"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("['1', '3']", ["1", "3"]),
        ('["1", "3"]', ["1", "3"]),
        ("['1' '3']", ["1", "3"]),
        ("['1'\n '3' \"it's\"]", ["1", "3", "it's"]),
        ("[1 3]", ["1", "3"]),
        ("[ 1.  3.]", ["1", "3"]),
        ("[np.int64(1), np.str_('3')]", ["1", "3"]),
        ("['np.int64(1)' '3 4']", ["np.int64(1)", "3 4"]),
        ("[]", []),
        ("['1' '3', '4']", None),
        ("['1''3']", None),
        ("[1 2 ... 8 9]", None),
        ("[None]", None),
        ("[1e999]", None),
        ("[[1]]", None),
        ("1 3", None),
        ("", None),
    ],
)
def test_lists_as_texts(text: str, ids: list[str] | None) -> None:
    column = pd.Series([text], name="history")
    if ids is None:
        with pytest.raises(RereError, match=r"a list in column 'history' of x.csv.* in line 2"):
            read_lists(column, Path("x.csv"), 2)
    else:
        assert ids_of(read_lists(column, Path("x.csv"), 2).iloc[0]) == ids


def test_window_files_as_parquet(tmp_path: Path) -> None:
    for period, rows in ROWS.items():
        table = pd.DataFrame(rows, columns=["user_id", "history", "item_id", "time"]).drop(columns="time")
        table["history_item_id"] = table.pop("history").map(lambda items: [int(item) for item in items])
        table.astype({"item_id": int}).to_parquet(tmp_path / f"{period}.parquet")
    (tmp_path / "info.txt").write_text("".join(f"{title}\t{item}\n" for item, title in TITLES.items()))
    paths: dict[str, Any] = {period: tmp_path / f"{period}.parquet" for period in ROWS}
    dataset = read(WindowFiles(**paths, items=tmp_path / "info.txt"))
    assert sequences(dataset) == {"a": "1234", "b": "214"}
    table = pd.read_parquet(tmp_path / "train.parquet")
    table.loc[1, "history_item_id"] = None
    table.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(RereError, match="'None' in line 1"):
        read(WindowFiles(**paths, items=tmp_path / "info.txt"))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"[1, 2]"', '"[1, x]"', r"a list in column 'history_item_id' of .*train.csv.*'\[1, x\]' in line 3"),
        ('"[1, 2]"', "__import__('os').getpid()", "a list in column 'history_item_id'"),
        ('"[1, 2]"', "[1]", "as many entries in 'history_timestamp'"),
        ("item_id,", "item,", "a column '.*item_id' in .*train.csv"),
    ],
)
def test_bad_window_files_are_refused_by_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    source = write(tmp_path, "rere")
    train = Path(source.train)
    text = train.read_text()
    assert before in text
    train.write_text(text.replace(before, after))
    with pytest.raises(RereError, match=said):
        read(source)
