"""Recommendations for a whole table of users, by the same search as the service's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rere.data.columns import require_columns, require_file
from rere.data.sources import load_source
from rere.errors import RereError
from rere.progress import progress
from rere.serving.config import BatchConfig, UserEvents, UserTable
from rere.serving.deployment import Deployment, Query, Ranked


def read_users(users: UserTable | UserEvents) -> pd.DataFrame:
    """user_id str, history list of str (item ids or titles, oldest first): a row a user.

    Raises:
        RereError: a missing file or column, or a user twice.
    """
    if isinstance(users, UserEvents):
        events = load_source(users.source).interactions.sort_values("timestamp", kind="stable")
        events = events.astype({"user_id": "str", "item_id": "str"})
        return events.groupby("user_id", sort=True)["item_id"].agg(list).rename("history").reset_index()
    table = pd.read_parquet(require_file(users.path, "users"))
    require_columns(table.columns, ["user_id", "history"], str(users.path), "rename the columns")
    if table["user_id"].duplicated().any():
        again = table.loc[table["user_id"].duplicated(), "user_id"].astype(str).tolist()
        raise RereError("a row a user", f"several for {again[:5]}", "join their histories")
    histories = [[str(entry) for entry in history] for history in table["history"]]
    return pd.DataFrame({"user_id": table["user_id"].astype(str), "history": histories})


def recommend_users(deployment: Deployment, users: pd.DataFrame, config: BatchConfig) -> tuple[pd.DataFrame, list[str]]:
    """Rank for every user.

    Args:
        users: from `read_users`.

    Returns:
        user_id, rank (from 1), item_id, title, score (nats), model_version: a row a recommendation, users in their
        order; and the ids of users without a known item, who get none.
    """
    lookup, unknown = deployment.snapshot.lookup, []
    queries: dict[int, Query] = {}
    for row, (user, history) in enumerate(zip(users["user_id"], users["history"], strict=True)):
        read = lookup.resolve(history).items
        if read:
            barred = frozenset(read) if config.seen == "exclude" else frozenset()
            queries[row] = deployment.query(read, config.k, barred)
        else:
            unknown.append(user)
    order = sorted(queries, key=lambda row: len(queries[row].history))  # rows of like length share a batch
    ranked: dict[int, Ranked] = {}
    starts = range(0, len(order), config.batch_users)
    for start in progress(starts, desc="users", unit="batch", leave=False, disable=len(starts) < 4):
        rows = order[start : start + config.batch_users]
        found = deployment.rank([queries[row] for row in rows])
        assert found is not None  # nothing asks to give up
        ranked.update(zip(rows, found, strict=True))
    return _table(deployment, users["user_id"].tolist(), ranked), unknown


def _table(deployment: Deployment, users: list[str], ranked: dict[int, Ranked]) -> pd.DataFrame:
    rows = sorted(ranked)
    counts = [len(ranked[row].items) for row in rows]
    items = np.array([item for row in rows for item in ranked[row].items], dtype=np.int64)
    catalog = deployment.snapshot.catalog.items
    return pd.DataFrame(
        {
            "user_id": np.repeat(np.array([users[row] for row in rows], dtype=object), counts),
            "rank": np.array([place for count in counts for place in range(1, count + 1)], dtype=np.int64),
            "item_id": catalog["item_id"].to_numpy()[items],
            "title": catalog["title"].to_numpy()[items],
            "score": np.array([score for row in rows for score in ranked[row].scores], dtype=np.float32),
            "model_version": deployment.version,
        }
    )


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    table.to_parquet(scratch, index=False)
    scratch.replace(path)
