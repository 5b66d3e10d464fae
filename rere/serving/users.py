"""The users of a batch, from a table of histories or from interactions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rere.data.columns import read_ids
from rere.data.sources.base import load_source
from rere.data.tables import Wanted, read_parts
from rere.errors import RereError
from rere.serving.config import UserEvents, UserTable
from rere.serving.histories import read_history

COLUMNS = ["user_id", "history"]
NO_USER, UNREADABLE = "no user id", "no readable history"


def read_users(users: UserTable | UserEvents) -> pd.DataFrame:
    """One row per user: row (its number in the file: a line of text, or from 0 in Parquet), user_id str, history (list
    of item ids or titles, oldest first), problem (why there can be no answer, "" for none) and detail.

    Raises:
        RereError: a missing or unreadable file, a missing column, ids that are none, or a user twice.
    """
    return _from_events(users) if isinstance(users, UserEvents) else _from_table(users)


def _from_table(users: UserTable) -> pd.DataFrame:
    path = Path(users.path)
    parts = []
    for frame, file, first in read_parts(path, Wanted("users", COLUMNS, "rename the columns", format=users.format)):
        ids = user_ids(frame, file, first)
        parts.append(users_of(frame.assign(user_id=ids), first, users.separator))
    table = pd.concat(parts, ignore_index=True)
    require_one_row_each(table["user_id"], path)
    return table


def user_ids(table: pd.DataFrame, where: Path | str, first_row: int) -> pd.Series:
    """The column of ids; RereError as `read_ids`."""
    return read_ids(table["user_id"], f"column 'user_id' of {where}", first_row)


def users_of(table: pd.DataFrame, first_row: int, separator: str | None) -> pd.DataFrame:
    """`read_users` of rows whose ids were read: user_id and history."""
    rows = []
    for row, (user, history) in enumerate(zip(table["user_id"], table["history"], strict=True), first_row):
        entries, problem, detail = list[str](), "" if user else NO_USER, ""
        try:
            entries = read_history(history, separator)
        except RereError as error:
            problem, detail = problem or UNREADABLE, str(error)
        rows.append((row, user, entries, problem, detail))
    return _frame(rows)


def require_one_row_each(ids: pd.Series, where: Path | str) -> None:
    """RereError where an id comes twice."""
    again = ids[(ids != "") & ids.duplicated()].tolist()
    if again:
        raise RereError(f"one row per user in {where}", f"several for {again[:5]}", "join their histories")


def _from_events(users: UserEvents) -> pd.DataFrame:
    events = load_source(users.source).interactions.sort_values("timestamp", kind="stable")
    events = events.astype({"user_id": "str", "item_id": "str"})
    histories = events.groupby("user_id", sort=True)["item_id"].agg(list)
    rows = []
    for row, (user, history) in enumerate(histories.items()):
        detail = "" if user else f"{len(history)} interactions"
        rows.append((row, str(user), history, "" if user else NO_USER, detail))
    return _frame(rows)


def _frame(rows: list[tuple[int, str, list[str], str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["row", "user_id", "history", "problem", "detail"])
