"""The catalogue while it is served: snapshots that never change, replaced whole.

A batch reads one snapshot from its start to its end. A change makes the next snapshot aside and puts it in place
with one assignment, so no request ever sees half a change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from rere.catalog.extend import extend_index
from rere.catalog.index import CatalogIndex
from rere.catalog.trie import TokenTrie
from rere.decoding.exclusion import leaf_places
from rere.errors import RereError
from rere.serving.lookup import ItemLookup
from rere.serving.titles import TitleSearch


@dataclass(frozen=True)
class Snapshot:
    """A catalogue at one moment.

    ids, titles: of each item
    trie: on the model's device
    removed: item indices that are never recommended; a history may still name them
    gone: their leaf places, for `Exclusions`
    """

    catalog: CatalogIndex
    ids: list[str]
    titles: list[str]
    trie: TokenTrie
    lookup: ItemLookup
    search: TitleSearch
    removed: frozenset[int]
    gone: torch.Tensor

    @classmethod
    def of(cls, catalog: CatalogIndex, device: torch.device | str = "cpu") -> Snapshot:
        trie = catalog.trie.to(device)
        ids, titles = catalog.item_ids, catalog.titles
        gone = leaf_places(trie, ())
        return cls(catalog, ids, titles, trie, ItemLookup(catalog), TitleSearch(titles), frozenset(), gone)

    def without(self, removed: frozenset[int]) -> Snapshot:
        """The same items, of which exactly `removed` are out."""
        return replace(self, removed=removed, gone=leaf_places(self.trie, removed))

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
            gone=leaf_places(trie, self.removed),
        )

    def prompt(self, history: Sequence[int]) -> list[int]:
        """As `CatalogIndex.prompt`, without a Python list for every item of the catalogue."""
        flat, offsets = self.catalog.trie.item_tokens.numpy(), self.catalog.trie.item_offsets.numpy()
        parts = [flat[offsets[item] : offsets[item + 1]] for item in history]
        return [*self.catalog.prompt_head, *np.concatenate(parts).tolist()]


@dataclass(frozen=True)
class CatalogEdits:
    """What has been changed while serving. It outlives the model: a promoted one gets the same changes.

    added: id -> title; removed: ids, which a later model may know though the present one doesn't
    """

    added: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """Bring a snapshot, of whatever model, up to these changes."""
        new = {item: title for item, title in self.added.items() if snapshot.lookup.index_of(item) is None}
        if new:
            snapshot = snapshot.extended(new)
        indices = (snapshot.lookup.index_of(item) for item in self.removed)
        return snapshot.without(frozenset(index for index in indices if index is not None))

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(path.name + ".new")
        facts = {"added": dict(self.added), "removed": sorted(self.removed)}
        with scratch.open("w", encoding="utf-8") as file:
            json.dump(facts, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> CatalogEdits:
        """Read what `save` wrote; no changes where there is no file."""
        if not path.exists():
            return cls()
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls({str(item): str(title) for item, title in facts["added"].items()}, frozenset(facts["removed"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RereError(
                f"changes of the catalogue in {path}", f"something else ({error})", "restore the file, or remove it"
            ) from error
