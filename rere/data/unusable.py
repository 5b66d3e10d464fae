"""Rows that no model can use: interactions without a user or a known item, items without a title.

They stop a run (validation names them), unless settings have them dropped and counted here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from rere.data.blockwise import kept_rows, looked_up
from rere.data.codes import coded, shared_codes


def is_orphan(events: pd.DataFrame, items: pd.DataFrame) -> np.ndarray:
    """(interactions,) bool: no user id, no item id, or an item that the catalogue lacks."""
    return _blank(events["user_id"]) | _blank(events["item_id"]) | _unknown(events, items)


def is_untitled(items: pd.DataFrame) -> np.ndarray:
    """(items,) bool"""
    return (items["title"].str.strip() == "").to_numpy()


def drop_unusable(
    events: pd.DataFrame, items: pd.DataFrame, orphans: Literal["refuse", "drop"], untitled: Literal["refuse", "drop"]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """What is left of both tables, and what went, by reason."""
    counts: dict[str, int] = {}
    if untitled == "drop":
        blank = is_untitled(items)
        gone = set(items.loc[blank, "item_id"]) - set(items.loc[~blank, "item_id"])
        of_blank = events["item_id"].isin(gone).to_numpy()
        counts["items without a title"] = int(blank.sum())
        counts["interactions with items without a title"] = int(of_blank.sum())
        events, items = kept_rows(events, ~of_blank), items[~blank]
    if orphans == "drop":
        no_user, no_item, unknown = _blank(events["user_id"]), _blank(events["item_id"]), _unknown(events, items)
        no_id = _blank(items["item_id"])
        counts["interactions without a user"] = int(no_user.sum())
        counts["interactions without an item"] = int((no_item & ~no_user).sum())
        counts["interactions with items that the catalogue lacks"] = int((unknown & ~no_item & ~no_user).sum())
        counts["items without an id"] = int(no_id.sum())
        events, items = kept_rows(events, ~(no_user | no_item | unknown)), items[~no_id]
    return events, items, counts


def _blank(ids: pd.Series) -> np.ndarray:
    codes, names = coded(ids)
    return looked_up(np.append((names == "").tolist(), True), codes)


def _unknown(events: pd.DataFrame, items: pd.DataFrame) -> np.ndarray:
    (catalogue, item), names = shared_codes(items["item_id"], events["item_id"])
    known = np.zeros(len(names) + 1, dtype=bool)
    known[catalogue[catalogue >= 0]] = True
    return ~looked_up(known, item)
