"""The users of a batch, from a table of histories or from interactions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rere.data.columns import read_ids
from rere.data.sources.base import load_source
from rere.data.tables import FIRST_LINE, PARQUET, read_table
from rere.errors import RereError
from rere.serving.config import UserEvents, UserTable
from rere.serving.histories import read_history

NO_USER, UNREADABLE = "no user id", "no readable history"


def read_users(users: UserTable | UserEvents) -> pd.DataFrame:
    """One row per user: row (its number in the file: a line of text, or from 0 in Parquet), user_id str, history (list
    of item ids or titles, oldest first), problem (why there can be no answer, "" for none) and detail.

    Raises:
        RereError: a missing or unreadable file, a missing column, ids that are none, or a user twice.
    """
    return _from_events(users) if isinstance(users, UserEvents) else _from_table(users)


def _from_table(users: UserTable) -> pd.DataFrame:
    table = read_table(users.path, "users", ["user_id", "history"], "rename the columns", (), format=users.format)
    first = 0 if users.path.suffix in PARQUET else FIRST_LINE
    ids = read_ids(table["user_id"], f"column 'user_id' of {users.path}", first)
    _require_one_row_each(ids, users.path)
    rows = []
    for row, (user, history) in enumerate(zip(ids, table["history"], strict=True), first):
        entries, problem, detail = list[str](), "" if user else NO_USER, ""
        try:
            entries = read_history(history, users.separator)
        except RereError as error:
            problem, detail = problem or UNREADABLE, str(error)
        rows.append((row, user, entries, problem, detail))
    return _frame(rows)


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


def _require_one_row_each(ids: pd.Series, path: Path) -> None:
    again = ids[(ids != "") & ids.duplicated()].tolist()
    if again:
        raise RereError(f"one row per user in {path}", f"several for {again[:5]}", "join their histories")
