"""Source: one CSV row a window, already split (the files of ReRe's reference code and of MiniOneRec).

Columns used: history_item_id and item_id; user_id, timestamp, history_timestamp, item_title and
history_item_title where they are there. Lists are Python literals. The interactions are rebuilt from the
windows: a user's targets in order, preceded by the history of the user's first row.

A first history takes the period of its row: nothing says that it happened earlier, and counting a test
user's history as training would let baselines see what may be other rows' answers.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd

from rere.artifacts.manifest import sha256
from rere.config.data import WindowFiles
from rere.data.columns import require_file
from rere.data.dataset import PERIODS
from rere.data.raw import SECOND, RawData, items_frame
from rere.data.tables import FIRST_LINE, read_table
from rere.data.times import read_times
from rere.errors import RereError

REQUIRED = ["history_item_id", "item_id"]
OPTIONAL = ["user_id", "timestamp", "history_timestamp", "item_title", "history_item_title"]
NO_TIMES_START = 946_684_800  # 2000-01-01: where made-up times begin when the files carry none


def files(source: WindowFiles) -> list[Path]:
    return [path for path in (source.train, source.valid, source.test, source.items) if path is not None]


def load(source: WindowFiles) -> RawData:
    """Read the three files and the catalogue, and rebuild the interactions.

    Raises:
        RereError: a missing file or column, a list or time that can't be read, titles nowhere to be found.
    """
    parts = [
        read_rows(path, period) for path, period in zip((source.train, source.valid, source.test), PERIODS, strict=True)
    ]
    timed = {part["timestamp"].notna().all() for part in parts}
    if len(timed) > 1:
        raise RereError("a timestamp column in all three files or in none", "only in some", "add or remove it")
    rows = pd.concat(parts, ignore_index=True)
    empty = rows["history"].str.len() == 0
    rows = rows[~empty].reset_index(drop=True)
    noticed = {"window rows without a user (each is a user of its own)": int((rows["user_id"] == "").sum())}
    rows["user_id"] = rows["user_id"].mask(rows["user_id"] == "", "row " + rows.index.astype("str"))
    titles = titles_of_file(source.items) if source.items else titles_of_rows(rows)
    items, repeated = items_frame(titles["item_id"], titles["title"])
    several = items["item_id"].duplicated()
    noticed["further titles of one item id (the first is kept)"] = int(several.sum())
    events, counts = rebuild_interactions(rows)
    if not all(timed):
        rows["timestamp"] = events.loc[~events["first_history"]].set_index("row")["timestamp"].reindex(rows.index)
    return RawData(
        name=f"window files {source.train}, {source.valid}, {source.test}",
        interactions=events[["user_id", "item_id", "timestamp"]].astype({"timestamp": "int64"}),
        periods=events["period"],
        items=items[~several].reset_index(drop=True),
        sha256={str(path): sha256(path) for path in files(source)},
        dropped={"window rows with an empty history": int(empty.sum()), "repeated item rows": repeated},
        noticed=noticed | counts,
        windows=rows[["user_id", "history", "target", "timestamp", "period"]].astype({"timestamp": "int64"}),
    )


def read_rows(path: Path, period: str) -> pd.DataFrame:
    """user_id, history, target, timestamp (seconds or missing), history_times, the rows' titles, period."""
    table = read_table(path, f"{period} windows", REQUIRED, "give files in the row-per-window format", OPTIONAL)
    rows = pd.DataFrame({"user_id": table["user_id"].str.strip() if "user_id" in table else ""}, index=table.index)
    rows["history"] = read_lists(table["history_item_id"], path)
    rows["history"] = rows["history"].map(lambda items: [str(item) for item in items])
    rows["target"] = table["item_id"].str.strip()
    rows["timestamp"] = pd.Series(pd.NA, index=rows.index, dtype="Int64")
    if "timestamp" in table:
        place = f"column 'timestamp' of {path}"
        rows["timestamp"] = pd.array(read_times(table["timestamp"], place, FIRST_LINE) // SECOND, dtype="Int64")
    for name, column in (("history_times", "history_timestamp"), ("history_titles", "history_item_title")):
        rows[name] = read_lists(table[column], path) if column in table else None
        if column in table and (odd := rows[name].str.len() != rows["history"].str.len()).any():
            row = int(np.argmax(odd))
            raise RereError(
                f"as many entries in {column!r} as in 'history_item_id' of {path}",
                f"{len(rows[name].iloc[row])} and {len(rows['history'].iloc[row])} in line {row + FIRST_LINE}",
                "repair that line",
            )
    if "history_timestamp" in table:
        rows["history_times"] = _seconds(rows["history_times"], f"column 'history_timestamp' of {path}")
    rows["title"] = table.get("item_title")
    return rows.assign(period=period)


def read_lists(column: pd.Series, path: Path) -> pd.Series:
    """Python list literals, read by `ast.literal_eval`; RereError naming the first line that is none."""
    lists = []
    for number, text in enumerate(column):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if not isinstance(value, list):
            raise RereError(
                f"a Python list in column {column.name!r} of {path}, such as ['12', '7']",
                f"{text[:200]!r} in line {number + FIRST_LINE}",
                "repair that line",
            )
        lists.append(value)
    return pd.Series(lists, index=column.index, dtype=object)


def _seconds(lists: pd.Series, place: str) -> pd.Series:
    """Lists of times as lists of seconds."""
    flat = pd.Series([time for times in lists for time in times])
    read = iter((read_times(flat, f"{place} (entries counted from its first)") // SECOND).tolist())
    return pd.Series([[next(read) for _ in times] for times in lists], index=lists.index, dtype=object)


def titles_of_file(path: Path) -> pd.DataFrame:
    """item_id, title of `title<TAB>id` lines (ReRe) or `sid<TAB>title<TAB>id` lines (MiniOneRec)."""
    lines = require_file(path, "items").read_text(encoding="utf-8-sig").split("\n")
    fields = [line.rstrip("\r").split("\t") for line in lines if line.strip()]
    widths = {len(line) for line in fields}
    if len(widths) != 1 or not widths <= {2, 3}:
        raise RereError(
            f"`title<TAB>id` or `sid<TAB>title<TAB>id` in every line of {path}",
            f"lines of {', '.join(map(str, sorted(widths)))} fields" if widths else "an empty file",
            "repair the file, or leave `items` out to take the titles from the rows",
        )
    return pd.DataFrame(
        {"item_id": [line[-1].strip() for line in fields], "title": [line[-2] for line in fields]}, dtype="str"
    )


def titles_of_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """item_id, title as the rows give them, in order of first appearance."""
    if rows["title"].isna().any() or rows["history_titles"].isna().any():
        raise RereError(
            "titles: an `items` file, or columns item_title and history_item_title in all three files",
            "neither",
            "name the `title<TAB>id` file as `items` in the source",
        )
    pairs = pd.DataFrame(
        {
            "item_id": [
                item for row in zip(rows["history"], rows["target"], strict=True) for item in (*row[0], row[1])
            ],
            "title": [
                title for row in zip(rows["history_titles"], rows["title"], strict=True) for title in (*row[0], row[1])
            ],
        }
    )
    return pairs.astype("str").drop_duplicates()


def rebuild_interactions(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Each user's first history and then targets, grouped by user, and what was ambiguous, counted.

    Without times in the files, order is the files' (training, validation, test) and the times are made up:
    2000-01-01 plus a running second.
    """
    users = pd.factorize(rows["user_id"])[0]
    ranks = rows["period"].map({period: n for n, period in enumerate(PERIODS)}).to_numpy()
    timed = bool(rows["timestamp"].notna().all())
    times: list[int] = rows["timestamp"].fillna(0).astype("int64").tolist()
    histories: list[list[str]] = rows["history"].tolist()
    history_times: list[list[int] | None] = rows["history_times"].tolist()
    names, targets, periods = (rows[column].tolist() for column in ("user_id", "target", "period"))
    order = np.lexsort((np.arange(len(rows)), np.asarray(times), ranks, users))
    events: list[tuple[str, str, int, str, bool, int]] = []
    gaps = untimed = untrained = 0
    previous = -1
    for row in order.tolist():
        if previous < 0 or users[previous] != users[row]:
            own_times = history_times[row]
            untimed += len(histories[row]) if own_times is None else 0
            untrained += periods[row] != "train"
            events += [
                (names[row], item, int(time), periods[row], True, row)
                for item, time in zip(histories[row], own_times or [times[row]] * len(histories[row]), strict=True)
            ]
        else:
            gaps += histories[row][-1] != targets[previous]
        previous = row
        events.append((names[row], targets[row], times[row], periods[row], False, row))
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp", "period", "first_history", "row"])
    if not timed:
        frame["timestamp"] = NO_TIMES_START + np.arange(len(frame))
    counts = {
        "rows whose history does not end with the user's previous target": int(gaps),
        "users without a training row (their first history takes its row's period)": int(untrained),
        "first-history items without a time of their own (given their row's)": int(untimed) if timed else 0,
        "window rows without a time (made up from the order of the files)": 0 if timed else len(rows),
    }
    return frame.astype({"user_id": "str", "item_id": "str", "period": "str"}), counts
