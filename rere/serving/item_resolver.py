"""From what a caller writes, ids or titles, to item indices: one rule for HTTP, batch inference and MLflow.

Entries that name no item are left out of a history and listed with a reason; the rest is answered. What becomes of a
history without any known item, the model's `cold_start` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rere.catalog.index import CatalogIndex
from rere.errors import RereError

SHOWN = 3  # unknown entries named in a message


class Unknown(NamedTuple):
    """An entry that names no item, and why."""

    entry: str
    reason: str


@dataclass(frozen=True)
class Resolved:
    """items: indices of the known entries, in their order; unknown: the other entries."""

    items: list[int]
    unknown: list[Unknown]

    def require_any(self) -> None:
        """RereError for a history of which nothing is known."""
        if self.items:
            return
        named = "; ".join(f"{entry[:80]!r}: {reason}" for entry, reason in self.unknown[:SHOWN])
        raise RereError(
            "a history with at least one item of the catalogue",
            f"{len(self.unknown)} entries, none of them known ({named})" if self.unknown else "an empty one",
            "name items by their id or exact title, oldest first; who has no known item yet needs other advice, "
            "such as what is popular",
        )


class ItemLookup:
    """Finds items by id, then by exact title. An id wins over an equal title of another item."""

    def __init__(self, ids: Iterable[str], titles: Iterable[str]) -> None:
        self._by_id: dict[str, int] = {}
        self._by_title: dict[str, tuple[str, ...]] = {}
        self._insert(ids, titles)

    @classmethod
    def of(cls, catalog: CatalogIndex) -> ItemLookup:
        return cls(catalog.items["item_id"], catalog.items["title"])

    def extended(self, ids: Iterable[str], titles: Iterable[str]) -> ItemLookup:
        """One that knows more items, whose indices follow; this one stays as it is."""
        more = ItemLookup((), ())
        more._by_id, more._by_title = dict(self._by_id), dict(self._by_title)
        more._insert(ids, titles)
        return more

    def _insert(self, ids: Iterable[str], titles: Iterable[str]) -> None:
        for item, title in zip(ids, titles, strict=True):
            self._by_id[item] = len(self._by_id)
            self._by_title[title] = (*self._by_title.get(title, ()), item)

    def index_of(self, item_id: str) -> int | None:
        """The index of an id; None for an unknown one."""
        return self._by_id.get(item_id)

    def resolve(self, entries: Iterable[str]) -> Resolved:
        """Known and unknown entries."""
        resolved = Resolved([], [])
        for entry in entries:
            index = self._by_id.get(entry)
            ids = self._by_title.get(entry, ()) if index is None else ()
            if index is None and len(ids) == 1:
                index = self._by_id[ids[0]]
            if index is not None:
                resolved.items.append(index)
            else:
                resolved.unknown.append(Unknown(entry, _reason(entry, ids)))
        return resolved


def _reason(entry: str, ids: Sequence[str]) -> str:
    if ids:
        return f"{len(ids)} items share this title: give an id, such as {ids[0]}"
    return "no item has this id or title" if entry else "it is empty"
