"""The catalogue while it is served: snapshots that never change, replaced whole.

A batch reads one snapshot from its start to its end. A change builds the next snapshot, then replaces the present one
by one assignment, so no request ever sees half a change.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex
from rere.catalog.trie import TokenTrie
from rere.decoding.exclusion import leaf_positions
from rere.errors import RereError
from rere.serving.item_resolver import ItemLookup
from rere.serving.titles import TitleSearch


@dataclass(frozen=True)
class Snapshot:
    """A catalogue at one moment.

    ids, titles: of each item
    trie: on the model's device
    removed: item indices that are never recommended; a history may still name them
    gone: their leaf positions, for `Exclusions`
    skipped: (id, title) of added items that this model can't take, with the reason
    """

    catalog: CatalogIndex
    ids: list[str]
    titles: list[str]
    trie: TokenTrie
    lookup: ItemLookup
    search: TitleSearch
    removed: frozenset[int]
    gone: torch.Tensor
    skipped: Mapping[tuple[str, str], RereError] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: CatalogIndex, device: torch.device | str = "cpu") -> Snapshot:
        trie = catalog.trie.to(device)
        ids, titles = catalog.item_ids, catalog.titles
        gone = leaf_positions(trie, ())
        return cls(
            catalog=catalog,
            ids=ids,
            titles=titles,
            trie=trie,
            lookup=ItemLookup.of(catalog),
            search=TitleSearch(titles),
            removed=frozenset(),
            gone=gone,
        )

    def without(self, removed: frozenset[int]) -> Snapshot:
        """The same items, of which exactly `removed` are out."""
        if removed == self.removed:
            return self
        return replace(self, removed=removed, gone=leaf_positions(self.trie, removed))

    def extended(self, added: Mapping[str, str]) -> Snapshot:
        """With the items `added` (id -> title); raises RereError as `extend_index` does."""
        ids, titles = list(added), list(added.values())
        catalog = extend_index(self.catalog, pd.DataFrame({"item_id": ids, "title": titles}, dtype=str))
        trie = catalog.trie.to(self.trie.token.device)
        return Snapshot(
            catalog=catalog,
            ids=self.ids + ids,
            titles=self.titles + titles,
            trie=trie,
            lookup=self.lookup.extended(ids, titles),
            search=TitleSearch(self.titles + titles),
            removed=self.removed,
            gone=leaf_positions(trie, self.removed),
            skipped=self.skipped,
        )

    def prompt(self, history: Sequence[int]) -> list[int]:
        """As `CatalogIndex.prompt`, without a Python list for every item of the catalogue."""
        flat, offsets = self.catalog.trie.item_tokens.numpy(), self.catalog.trie.item_offsets.numpy()
        parts = [flat[offsets[item] : offsets[item + 1]].tolist() for item in history]
        return [*self.catalog.prompt_head, *itertools.chain.from_iterable(parts), *self.catalog.prompt_tail]

    def prompt_tokens(self, history: Sequence[int]) -> int:
        """The length of `prompt`, without making it."""
        offsets, items = self.catalog.trie.item_offsets.numpy(), np.asarray(history, dtype=np.int64)
        around = len(self.catalog.prompt_head) + len(self.catalog.prompt_tail)
        return around + int((offsets[items + 1] - offsets[items]).sum())


@dataclass(frozen=True)
class CatalogEdits:
    """What has been changed while serving. It outlives the model: a promoted one gets the same changes.

    added: id -> title; removed: ids, which a later model may know though the present one doesn't
    """

    added: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def apply(self, snapshot: Snapshot, check: Callable[[Snapshot], None] = lambda _: None) -> Snapshot:
        """Bring a snapshot, of whatever model, up to these changes; the same one where there is nothing to change.

        Args:
            check: raises RereError for a snapshot that the model can't work with.
        """
        new = {
            item: title
            for item, title in self.added.items()
            if snapshot.lookup.index_of(item) is None and (item, title) not in snapshot.skipped
        }
        snapshot = _with_those_it_takes(snapshot, new, check)
        indices = (snapshot.lookup.index_of(item) for item in self.removed)
        return snapshot.without(frozenset(index for index in indices if index is not None))


def _with_those_it_takes(snapshot: Snapshot, items: Mapping[str, str], check: Callable[[Snapshot], None]) -> Snapshot:
    """Extended by `items`, all at once if they are taken; those that aren't are found by halving, and skipped."""
    if not items:
        return snapshot
    try:
        more = snapshot.extended(items)
        check(more)
        return more
    except RereError as error:
        pairs = list(items.items())
        if len(pairs) == 1:
            return replace(snapshot, skipped={**snapshot.skipped, pairs[0]: error})
    for half in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        snapshot = _with_those_it_takes(snapshot, dict(half), check)
    return snapshot
