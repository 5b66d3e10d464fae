"""Example rows of a page: a user's history, the target, and each model's first items."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

TOP, HISTORY = 5, 10  # items per list, most recent titles of a history


def example(
    row: int, tables: Mapping[str, pd.DataFrame], history: Sequence[int], titles: Sequence[str]
) -> dict[str, Any]:
    """What the template shows of one row.

    Args:
        tables: model -> its results, all on the same rows, numbered from 0.
        history: item indices, oldest first.
        titles: by item index.
    """
    lists, found = {}, dict[Hashable, Any]()
    for model, table in tables.items():
        found = table.loc[row].to_dict()
        items = [int(item) for item in found["items"][:TOP] if item >= 0]
        shown = [(titles[item], item == found["target"]) for item in items]
        lists[model] = {"items": shown, "rank": int(found["rank"])}
    return {
        "user": found["user_id"],
        "earlier": max(0, len(history) - HISTORY),
        "history": [titles[item] for item in history[-HISTORY:]],
        "target": titles[found["target"]],
        "warm": found["warm"],
        "lists": lists,
    }


def spread(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly spaced."""
    if len(rows) <= count:
        return list(rows)
    return [rows[n * len(rows) // count] for n in range(count)]
