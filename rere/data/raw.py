"""What every source hands to ingest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from rere.config.data import TableColumns
from rere.data.blockwise import in_blocks, slices, taken_rows
from rere.data.codes import TextCodes, category
from rere.data.columns import read_ids, read_titles, read_values
from rere.data.origin import Segment, segments_of
from rere.data.times import TimeParts

SECOND = 1_000_000  # microseconds
OTHERWISE = "repeated item rows with other values in `item_columns` (the first is kept)"


@dataclass(frozen=True)
class RawData:
    """A source as read, before any filter.

    interactions: user_id str, item_id str (both categories), timestamp int64 (seconds since 1970), in file order
    items: item_id str, title str, in file order; then the columns that `item_columns` names, text or float64
    segments: table ("interactions", "items", "windows") -> the files of its rows, for sources that can name them; then
        the index of `interactions` and `items`, and `position` in `windows`, are positions among all rows read
    sha256: file name -> SHA-256 of its bytes
    dropped: reason -> rows left out by the source itself
    noticed: what a reader should know, counted; nothing was left out for it
    windows: columns of `Windows.table` but row_id and warm; only from sources that bring their own windows
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    sha256: dict[str, str]
    dropped: dict[str, int] = field(default_factory=dict)
    noticed: dict[str, int] = field(default_factory=dict)
    windows: pd.DataFrame | None = None
    segments: dict[str, list[Segment]] = field(default_factory=dict)
    periods: pd.Series | None = None  # a period an interaction, when the source brings its own split


class Part(NamedTuple):
    """Some of a table's rows, and where they come from."""

    frame: pd.DataFrame
    file: Path | str
    first_row: int  # its number in the file: the line of text, the row (from 0) of Parquet


def interactions_frame(users: pd.Series, items: pd.Series, microseconds: np.ndarray) -> pd.DataFrame:
    """user_id, item_id (categories), timestamp (whole seconds); text or categories come in.

    Rows whose times differ within a second only would lose their order, so then the rows are put in
    order of time (stably) before the fractions go. The index keeps each row's position in the file.
    """
    text = {"user_id": category(users).array, "item_id": category(items).array}
    seconds = in_blocks(len(microseconds), np.int64, lambda block: microseconds[block] // SECOND)
    frame = pd.DataFrame({**text, "timestamp": seconds}, copy=False)
    if any((microseconds[block] % SECOND).any() for block in slices(len(microseconds))):
        order = np.argsort(microseconds, kind="stable")
        frame = taken_rows(frame, order).set_axis(order)
    return frame


def items_frame(ids: pd.Series, titles: pd.Series) -> tuple[pd.DataFrame, int]:
    """item_id, title without exact repetitions, and how many rows those were.

    One id with two titles stays, for validation to refuse. The index keeps each row's position in the file.
    """
    frame = pd.DataFrame({"item_id": ids.to_numpy(), "title": titles.to_numpy()}).astype("str")
    repeated = frame.duplicated()
    return frame[~repeated], int(repeated.sum())


def raw_from_tables(
    source: TableColumns,
    name: str,
    events: Iterable[Part],
    catalogue: Iterable[Part],
    sha256: dict[str, str],
) -> RawData:
    """A source's two tables, their columns read strictly.

    Args:
        events: the interactions in parts, of which one at a time is held; their ids stay as codes.
        catalogue: the items.
    """
    item_id, title = source.items_id_column or source.item_column, source.title_column
    parts = []
    read: dict[str, list[tuple[Path | str, int, int]]] = {"interactions": [], "items": []}
    for frame, file, first in catalogue:
        read["items"].append((file, first, len(frame)))
        values = {
            "item_id": read_ids(frame[item_id], f"column {item_id!r} of {file}", first),
            "title": read_titles(frame[title], f"column {title!r} of {file}", first),
        }
        for column, kind in source.item_columns.items():
            values[column] = read_values(frame[column], kind, f"column {column!r} of {file}", first)
        parts.append(pd.DataFrame(values))
    items = pd.concat(parts, ignore_index=True)
    repeated = items.duplicated(["item_id", "title"])  # one id with two titles stays, for validation to refuse
    otherwise = int(repeated.sum() - items.duplicated().sum())
    users, takes, times = TextCodes(), TextCodes(), TimeParts(source.time_zone)
    user, item, time = source.user_column, source.item_column, source.time_column
    for frame, file, first in events:
        read["interactions"].append((file, first, len(frame)))
        users.add(read_ids(frame[user], f"column {user!r} of {file}", first))
        takes.add(read_ids(frame[item], f"column {item!r} of {file}", first))
        times.add(frame[time], f"column {time!r} of {file}", first)
    columns = users.column(), takes.column()
    pa.default_memory_pool().release_unused()  # what the parts took
    return RawData(
        name=name,
        interactions=interactions_frame(*columns, times.microseconds()),
        items=items[~repeated],
        sha256=sha256,
        dropped={"repeated item rows": int(repeated.sum())},
        noticed={OTHERWISE: otherwise} if source.item_columns else {},
        segments={table: segments_of(*zip(*parts, strict=True)) for table, parts in read.items()},
    )
