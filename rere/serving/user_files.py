"""A batch's users in Parquet files, read in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from rere.data.columns import require_columns
from rere.data.parquet_files import plain_frame
from rere.errors import RereError
from rere.serving.file_store import Files
from rere.serving.users import COLUMNS, require_one_row_each, user_ids, users_of


class Part(NamedTuple):
    """Rows `low` to `high` (exclusive) of a file, whose first one is row `row` of all users."""

    number: int
    file: str
    low: int
    high: int
    row: int


def plan(users: Files, part_users: int) -> list[Part]:
    """All users in parts; RereError for a file without the columns."""
    parts: list[Part] = []
    row = 0
    for file in users.parquet():
        with users.opened(file) as table:
            require_columns(table.schema_arrow.names, COLUMNS, file, "rename the columns")
            rows = table.metadata.num_rows
        for low in range(0, rows, part_users):
            high = min(low + part_users, rows)
            parts.append(Part(len(parts), file, low, high, row + low))
        row += rows
    if not parts:
        raise RereError(f"rows in {users.location}", "none", "give files with users")
    return parts


def read_part(users: Files, part: Part, separator: str | None) -> pd.DataFrame:
    """The users of a part, as `read_users` gives them."""
    with users.opened(part.file) as table:
        frame = _rows(table, part)
    ids = user_ids(frame, part.file, part.low)
    return users_of(frame.assign(user_id=ids), part.row, separator)


def _rows(table: Any, part: Part) -> pd.DataFrame:
    groups: list[int] = []
    first, begin = part.low, 0
    for group in range(table.num_row_groups):
        end = begin + table.metadata.row_group(group).num_rows
        if begin < part.high and end > part.low:
            first = begin if not groups else first
            groups.append(group)
        begin = end
    found = []
    for batch in table.iter_batches(part.high - part.low, row_groups=groups, columns=COLUMNS):
        low, high = max(part.low - first, 0), min(part.high - first, len(batch))
        if low < high:
            found.append(batch.slice(low, high - low))
        first += len(batch)
    return plain_frame(pa.Table.from_batches(found))


def require_users_once(users: Files) -> None:
    """RereError where a user comes twice, in whichever files; 8 bytes per user are held."""
    hashes = [np.empty(0, dtype=np.uint64)]
    hashes += [pd.util.hash_array(ids.to_numpy(dtype=object)) for ids in _all_ids(users)]
    ordered = np.sort(np.concatenate(hashes))
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice):  # the same user, no user, or two by chance
        parts = [ids[np.isin(pd.util.hash_array(ids.to_numpy(dtype=object)), twice)] for ids in _all_ids(users)]
        require_one_row_each(pd.concat(parts, ignore_index=True), users.location)


def _all_ids(users: Files) -> Iterator[pd.Series]:
    for file in users.parquet():
        with users.opened(file) as table:
            row = 0
            for batch in table.iter_batches(100_000, columns=["user_id"]):
                yield user_ids(plain_frame(pa.Table.from_batches([batch])), file, row)
                row += len(batch)
