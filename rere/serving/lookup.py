"""From what a caller writes, ids or titles, to item indices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rere.catalog.index import CatalogIndex
from rere.errors import RereError


class ItemLookup:
    """Finds items by id, then by exact title. An id wins over an equal title of another item."""

    def __init__(self, catalog: CatalogIndex) -> None:
        self._by_id = catalog.index_of
        self._by_title: dict[str, list[str]] = defaultdict(list)
        for item, title in zip(catalog.item_ids, catalog.titles, strict=True):
            self._by_title[title].append(item)

    def indices(self, history: Sequence[str]) -> list[int]:
        """Item indices of a history, in its order.

        Raises:
            RereError: an empty history, an unknown item, or a title that several items share.
        """
        if not len(history):
            raise RereError("a history of at least one item", "an empty one", "give item ids or titles, oldest first")
        return [self._index(str(entry)) for entry in history]

    def _index(self, entry: str) -> int:
        if entry in self._by_id:
            return self._by_id[entry]
        ids = self._by_title.get(entry, [])
        if len(ids) == 1:
            return self._by_id[ids[0]]
        if ids:
            raise RereError("a title of one item", f"{entry!r}, which {len(ids)} share", f"give one id of {ids[:5]}")
        raise RereError(
            f"an item id or exact title of the catalogue ({len(self._by_id)} items)",
            repr(entry),
            "correct it, or retrain on data that contain the item",
        )
