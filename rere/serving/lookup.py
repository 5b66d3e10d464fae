"""From what a caller writes, ids or titles, to item indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rere.catalog.index import CatalogIndex
from rere.errors import RereError


class ItemLookup:
    """Finds items by id, then by exact title. An id wins over an equal title of another item."""

    def __init__(self, catalog: CatalogIndex) -> None:
        self._by_id: dict[str, int] = {}
        self._by_title: dict[str, tuple[str, ...]] = {}
        self._insert(catalog.items["item_id"], catalog.items["title"])

    def extended(self, ids: Iterable[str], titles: Iterable[str]) -> ItemLookup:
        """One that knows more items, whose indices follow; this one stays as it is."""
        more = object.__new__(ItemLookup)
        more._by_id, more._by_title = dict(self._by_id), dict(self._by_title)
        more._insert(ids, titles)
        return more

    def _insert(self, ids: Iterable[str], titles: Iterable[str]) -> None:
        for item, title in zip(ids, titles, strict=True):
            self._by_id[item] = len(self._by_id)
            self._by_title[title] = (*self._by_title.get(title, ()), item)

    def indices(self, history: Sequence[str]) -> list[int]:
        """Item indices of a history, in its order.

        Raises:
            RereError: an empty history, an unknown item, or a title that several items share.
        """
        if not len(history):
            raise RereError("a history of at least one item", "an empty one", "give item ids or titles, oldest first")
        return [self._index(str(entry)) for entry in history]

    def index_of(self, item_id: str) -> int | None:
        """The index of an id; None for an unknown one."""
        return self._by_id.get(item_id)

    def known(self, entries: Iterable[str]) -> tuple[list[int], list[tuple[str, str]]]:
        """Indices of the entries that name an item, in their order, and (entry, reason) of the others."""
        found, unknown = [], []
        for entry in entries:
            index = self._by_id.get(entry)
            ids = self._by_title.get(entry, ()) if index is None else ()
            if index is None and len(ids) == 1:
                index = self._by_id[ids[0]]
            if index is not None:
                found.append(index)
            elif ids:
                unknown.append((entry, f"{len(ids)} items share this title: give an id, such as {ids[0]}"))
            else:
                unknown.append((entry, "no item has this id or title"))
        return found, unknown

    def _index(self, entry: str) -> int:
        if entry in self._by_id:
            return self._by_id[entry]
        ids = self._by_title.get(entry, ())
        if len(ids) == 1:
            return self._by_id[ids[0]]
        if ids:
            raise RereError(
                "a title of one item", f"{entry!r}, which {len(ids)} share", f"give one id of {list(ids[:5])}"
            )
        raise RereError(
            f"an item id or exact title of the catalogue ({len(self._by_id)} items)",
            repr(entry),
            "correct it, or retrain on data that contain the item",
        )
