"""A catalogue of today, indexed so that an earlier model can go on with it: items that it knows keep their codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from rere.catalog.codes.base import as_code
from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex, build_index, further_columns
from rere.catalog.trie import build_trie
from rere.config.catalog import IndexConfig


class StartRecord(BaseModel):
    """What training starts from, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["champion", "backbone"]
    reason: str
    known_items: int
    new_items: int


def continued_or_new(
    champion: CatalogIndex,
    items: pd.DataFrame,
    config: IndexConfig,
    maximum_new_items: float,
    sequences: Sequence[np.ndarray] | None = None,
) -> tuple[CatalogIndex, StartRecord]:
    """Index `items` (item_id, title) on from the champion's catalogue; afresh where that can't be.

    Args:
        maximum_new_items: share of the catalogue that the champion may not know.
        sequences: as `build_index`.
    """
    new = int((~_known(champion, items)).sum())
    counts = {"known_items": len(items) - new, "new_items": new}
    reason = None
    if champion.config != config:
        changed = [
            name for name in type(config).model_fields if getattr(champion.config, name) != getattr(config, name)
        ]
        reason = f"the settings of `catalog` changed ({', '.join(changed)})"
    elif not as_code(config.code).takes_new_items:
        reason = f"`code: {config.code.type}` codes the whole catalogue at once"
    elif new == len(items):
        reason = "the champion knows none of the items"
    elif new > maximum_new_items * len(items):
        reason = f"{new:,} of {len(items):,} items are new to the champion, more than {maximum_new_items:.0%}"
    if reason is not None:
        return build_index(items, config, sequences), StartRecord(type="backbone", reason=reason, **counts)
    said = f"{counts['known_items']:,} items keep their codes, {new:,} are new"
    return continue_index(champion, items), StartRecord(type="champion", reason=said, **counts)


def continue_index(catalog: CatalogIndex, items: pd.DataFrame) -> CatalogIndex:
    """The catalogue of `items`, in their order: known ones with their codes, new ones added, others left out.

    An item whose title changed is a new one. At least one must be known. Further columns are those of `items`.

    Raises:
        RereError: as `extend_index`.
    """
    known = _known(catalog, items)
    indices = [catalog.index_of[item] for item in items.loc[known, "item_id"]]
    kept = catalog if len(indices) == len(catalog.item_ids) else _arranged(catalog, sorted(indices))
    grown = extend_index(kept, items.loc[~known, ["item_id", "title"]].reset_index(drop=True))
    arranged = _arranged(grown, [grown.index_of[item] for item in items["item_id"]])
    return dataclasses.replace(arranged, columns=further_columns(items))


def _known(catalog: CatalogIndex, items: pd.DataFrame) -> np.ndarray:
    """(items,) bool: the catalogue has the id with this very title."""
    titles = items["item_id"].map(dict(zip(catalog.item_ids, catalog.titles, strict=True)))
    return (titles == items["title"]).to_numpy(dtype=bool)


def _arranged(catalog: CatalogIndex, indices: list[int]) -> CatalogIndex:
    """The items at `indices`, in that order, with their codes; itself where that is what it is."""
    if indices == list(range(len(catalog.item_ids))):
        return catalog
    return dataclasses.replace(
        catalog,
        items=catalog.items.iloc[indices].reset_index(drop=True),
        trie=build_trie([catalog.item_tokens[index] for index in indices]),
        columns=pd.DataFrame(),
    )
