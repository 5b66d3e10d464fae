"""Source: one CSV row per window, already split (the files of ReRe's reference code and of MiniOneRec).

Columns used: history_item_id and item_id; user_id, timestamp, history_timestamp, item_title and
history_item_title where they are there. Lists are literals (`rere.data.literal_lists`). The interactions are rebuilt
from the windows: a user's targets in order, preceded by the history of the user's first row. Order is that of the
periods, then of the times; where those are equal or missing, of the histories (`rere.data.row_order`).

A first history takes the period of its row: nothing says that it happened earlier, and counting a test
user's history as training would let baselines see what may be other rows' answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from rere.config.data import Place, TableFormat
from rere.data.columns import read_ids, read_titles
from rere.data.dataset import PERIODS
from rere.data.literal_lists import ids_of, read_lists
from rere.data.origin import segments_of
from rere.data.raw import SECOND, RawData, items_frame
from rere.data.remote import here, origin, sums_of
from rere.data.row_order import Rows, continues, row_order
from rere.data.sources.base import Source
from rere.data.tables import FIRST_LINE, PARQUET, read_table
from rere.data.times import read_times
from rere.data.window_titles import titles_of_file, titles_of_rows
from rere.errors import RereError

REQUIRED = ["history_item_id", "item_id"]
OPTIONAL = ["user_id", "timestamp", "history_timestamp", "item_title", "history_item_title"]
OPTIONAL += ["item_sid", "history_item_sid"]  # MiniOneRec's semantic IDs: noticed, not used
GAPS = "rows whose history does not go on from the user's row before"
NO_TIMES_START = 946_684_800  # 2000-01-01: where made-up times begin when the files carry none


class WindowFiles(Source):
    """One CSV row per window, already split: the format of ReRe's and MiniOneRec's data files."""

    type: Literal["window_files"] = "window_files"
    train: Place
    valid: Place
    test: Place
    items: Place | None = Field(default=None, description="`title<TAB>id` lines; else the rows' own titles")
    format: TableFormat = Field(default=TableFormat(), description="of the three files")

    def files(self) -> list[Path]:
        """The files that the source reads: those of the periods, then the items where there is such a file."""
        return [here(place) for place in (self.train, self.valid, self.test, self.items) if place is not None]

    def load(self) -> RawData:
        """Read the three files and the catalogue, and rebuild the interactions.

        Raises:
            RereError: a missing file or column, a list or time that can't be read, titles nowhere to be found.
        """
        files = self.files()
        periods = files[: len(PERIODS)]
        parts = [read_rows(path, period, self.format) for path, period in zip(periods, PERIODS, strict=True)]
        timed = {part["timestamp"].notna().all() for part in parts}
        if len(timed) > 1:
            raise RereError("a timestamp column in all three files or in none", "only in some", "add or remove it")
        rows = pd.concat(parts, ignore_index=True)
        first_rows = [first_row_of(path, self.format) for path in periods]
        empty = rows["history"].str.len() == 0
        rows = rows[~empty].assign(position=np.flatnonzero(~empty)).reset_index(drop=True)
        noticed = {
            "window rows without a user (each is a user of its own)": int((rows["user_id"] == "").sum()),
            "window rows with semantic IDs (item_sid), not used: `catalog.code` gives items their codes": int(
                rows["has_sid"].sum()
            ),
        }
        rows["user_id"] = rows["user_id"].mask(rows["user_id"] == "", "row " + rows.index.astype("str"))
        titles = titles_of_file(files[-1]) if self.items else titles_of_rows(rows)
        items, repeated = items_frame(titles["item_id"], titles["title"])
        several = items["item_id"].duplicated()
        noticed["further titles of one item id (the first is kept)"] = int(several.sum())
        noticed["items with a semantic ID in the items file, not used"] = int(titles["has_sid"].sum())
        rows, events, counts = rebuild_interactions(rows, made_up=not all(timed))
        return RawData(
            name=f"window files {', '.join(map(origin, periods))}",
            interactions=events[["user_id", "item_id", "timestamp"]].astype({"timestamp": "int64"}),
            periods=events["period"],
            items=items[~several].reset_index(drop=True),
            sha256=sums_of(files),
            dropped={"window rows with an empty history": int(empty.sum()), "repeated item rows": repeated},
            noticed=noticed | counts,
            segments={"windows": segments_of(periods, first_rows, [*map(len, parts)])},
            windows=rows[["user_id", "history", "target", "timestamp", "period", "position"]].astype(
                {"timestamp": "int64"}
            ),
        )


def first_row_of(path: Path, format: TableFormat) -> int:
    """The number of a file's first row: the line of text (a header comes before it), the row (from 0) of Parquet."""
    if format.type == "parquet" or (format.type == "by_name" and path.suffix in PARQUET):
        return 0
    return FIRST_LINE - 1 if format.columns else FIRST_LINE


def read_rows(path: Path, period: str, format: TableFormat) -> pd.DataFrame:
    """user_id, history, target, timestamp (seconds or missing), history_times, the rows' titles, has_sid, period."""
    remedy = "give files in the row-per-window format"
    table = read_table(path, f"{period} windows", REQUIRED, remedy, OPTIONAL, format=format)
    first_row = first_row_of(path, format)
    where = {name: f"column {name!r} of {path}" for name in table}
    rows = pd.DataFrame({"user_id": ""}, index=table.index)
    if "user_id" in table:
        rows["user_id"] = read_ids(table["user_id"], where["user_id"], first_row)
    rows["history"] = read_id_lists(table["history_item_id"], path, first_row)
    rows["target"] = read_ids(table["item_id"], where["item_id"], first_row)
    rows["timestamp"] = pd.Series(pd.NA, index=rows.index, dtype="Int64")
    if "timestamp" in table:
        times = read_times(table["timestamp"], where["timestamp"], first_row)
        rows["timestamp"] = pd.array(times // SECOND, dtype="Int64")
    for name, column in (("history_times", "history_timestamp"), ("history_titles", "history_item_title")):
        rows[name] = read_lists(table[column], path, first_row) if column in table else None
        if column in table and (odd := rows[name].str.len() != rows["history"].str.len()).any():
            row = int(np.argmax(odd))
            raise RereError(
                f"as many entries in {column!r} as in 'history_item_id' of {path}",
                f"{len(rows[name].iloc[row])} and {len(rows['history'].iloc[row])} in line {row + first_row}",
                "repair that line",
            )
    if "history_timestamp" in table:
        rows["history_times"] = _seconds(rows["history_times"], where["history_timestamp"])
    rows["title"] = read_titles(table["item_title"], where["item_title"]) if "item_title" in table else None
    return rows.assign(has_sid="item_sid" in table or "history_item_sid" in table, period=period)


def read_id_lists(column: pd.Series, path: Path, first_row: int) -> pd.Series:
    """Lists of ids as texts; RereError for a line with anything else."""
    lists = read_lists(column, path, first_row).map(ids_of)
    if (bad := lists.isna()).any():
        row = int(np.argmax(bad))
        raise RereError(
            f"ids as text or whole numbers in column {column.name!r} of {path}",
            f"{str(column.iloc[row])[:200]!r} in line {row + first_row}",
            "repair that line",
        )
    return lists


def _seconds(lists: pd.Series, where: str) -> pd.Series:
    """Lists of times as lists of seconds."""
    flat = pd.Series([time for times in lists for time in times])
    if not len(flat):
        return lists
    seconds = (read_times(flat, f"{where} (entries counted from its first)") // SECOND).tolist()
    ends = np.cumsum([len(times) for times in lists]).tolist()
    parts = [seconds[end - len(times) : end] for times, end in zip(lists, ends, strict=True)]
    return pd.Series(parts, index=lists.index, dtype=object)


def rebuild_interactions(rows: pd.DataFrame, made_up: bool) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """The rows, each user's in their true order; the interactions by user; and what was ambiguous, counted.

    A user's interactions are the history of the first row, then each row's target.

    Args:
        made_up: the files carry no times. Then order is that of the periods and of the histories
            (`rere.data.row_order`), and the times are made up: 2000-01-01 plus a running second.
    """
    users = pd.factorize(rows["user_id"])[0]
    order = row_order(
        Rows(
            users,
            rows["period"].map({period: n for n, period in enumerate(PERIODS)}).to_numpy(),
            rows["timestamp"].fillna(0).to_numpy(dtype=np.int64),
            rows["history"].tolist(),
            rows["target"].tolist(),
        )
    )
    as_given = np.lexsort((np.arange(len(rows)), users))
    moved = np.unique(users[order[order != as_given]]).size if made_up else 0
    true_order = np.empty_like(order)
    true_order[as_given] = order  # each user's rows are reordered among themselves
    rows, users = rows.iloc[true_order].reset_index(drop=True), users[true_order]

    events: list[tuple[str, str, int, str, int]] = []
    previous: dict[int, tuple[str, ...]] = {}
    gaps = untimed = untrained = 0
    columns = rows[["user_id", "history", "history_times", "target", "timestamp", "period"]]
    for row, (name, history, own_times, target, time, period) in enumerate(columns.itertuples(index=False)):
        user = int(users[row])
        when = 0 if made_up else int(time)
        if user not in previous:
            untimed += len(history) if own_times is None else 0
            untrained += period != "train"
            times = own_times or [when] * len(history)
            events += [(name, item, int(then), period, -1) for item, then in zip(history, times, strict=True)]
        else:
            gaps += not continues(previous[user], history)
        previous[user] = (*history, target)
        events.append((name, target, when, period, row))
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp", "period", "row"])
    frame = frame.iloc[np.argsort(pd.factorize(frame["user_id"])[0], kind="stable")].reset_index(drop=True)
    if made_up:
        frame["timestamp"] = NO_TIMES_START + np.arange(len(frame))
        rows["timestamp"] = frame[frame["row"] >= 0].set_index("row")["timestamp"].reindex(rows.index)
    counts = {
        "users whose rows were put in order by their histories": int(moved),
        GAPS: int(gaps),
        "users without a training row (their first history takes its row's period)": int(untrained),
        "first-history items without a time of their own (given their row's)": 0 if made_up else int(untimed),
        "window rows without a time (made up from the order of the rows)": len(rows) if made_up else 0,
    }
    return rows, frame.astype({"user_id": "str", "item_id": "str", "period": "str"}), counts
