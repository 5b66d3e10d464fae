"""New items in a catalogue that a model was trained on: no code of an old item changes unless it must.

The model learned the old codes, so they stay. One case can't: under `prefix`, a new title may begin with an old
item's code; that item's code then gets the next tokens of its own title, as it would have had from the start.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from rere.catalog.index import CatalogIndex, distinct_texts, new_item_tokens, prefix_trie
from rere.catalog.tokenization import end_token, spell
from rere.catalog.trie import TokenTrie, build_trie
from rere.errors import RereError


def extend_index(catalog: CatalogIndex, added: pd.DataFrame) -> CatalogIndex:
    """The catalogue with the items `added` (item_id, title) after its own; the old items' indices stay.

    Nothing else is known of the added ones: their further columns are missing.

    Raises:
        RereError: a known or repeated id, a title that can't be spelt, or codes that aren't titles' tokens.
    """
    if catalog.config.code == "semantic":
        raise RereError(
            "items coded by their titles or a token (code: title, prefix or item)",
            "semantic IDs, which only training can give to new items",
            "retrain with the new items",
        )
    if not len(added):
        return catalog
    ids = added["item_id"]
    taken = ids[ids.isin(catalog.items["item_id"]) | ids.duplicated()]
    if len(taken):
        raise RereError("items with ids of their own", f"ids in use: {taken.tolist()[:5]}", "leave them out")
    titles = added["title"]
    texts = distinct_texts(ids, titles, {*catalog.items["title"], *catalog.items["text"]})
    if catalog.config.code == "item":
        spelt = new_item_tokens(catalog.tokenizer, titles.tolist(), catalog.item_tokens_made)
    else:
        spelt = _spelt(catalog, texts.tolist())
    longer = _lengthened(catalog, spelt) if catalog.config.code == "prefix" else {}
    trie = _merged(catalog.trie, longer, spelt)
    rows = pd.DataFrame({"item_id": ids, "title": titles, "text": texts})
    return dataclasses.replace(
        catalog,
        items=pd.concat([catalog.items, rows], ignore_index=True),
        trie=prefix_trie(trie) if catalog.config.code == "prefix" else trie,
        columns=catalog.columns.reindex(range(len(catalog.items) + len(rows))),
        item_tokens_made=catalog.item_tokens_made + (len(rows) if catalog.config.code == "item" else 0),
    )


def _spelt(catalog: CatalogIndex, texts: list[str]) -> list[list[int]]:
    """Each text's tokens with the end token."""
    end = end_token(catalog.tokenizer)
    return [[*tokens, end] for tokens in spell(catalog.tokenizer, texts)]


def _lengthened(catalog: CatalogIndex, spelt: list[list[int]]) -> dict[int, list[int]]:
    """Old items whose code begins a new title: their index and all the tokens of their text."""
    items = sorted({leaf for tokens in spelt if (leaf := _leaf_on_the_way(catalog.trie, tokens)) >= 0})
    if not items:
        return {}
    texts = catalog.items["text"].iloc[items].tolist()
    return dict(zip(items, _spelt(catalog, texts), strict=True))


def _leaf_on_the_way(trie: TokenTrie, tokens: list[int]) -> int:
    """The item whose whole code begins `tokens`; -1 for none."""
    node = trie.walk(tokens)
    return int(trie.leaf_item[trie.leaf_low[node]]) if not int(trie.child_count[node]) else -1


def _merged(trie: TokenTrie, longer: dict[int, list[int]], new: list[list[int]]) -> TokenTrie:
    """The trie with some items' tokens replaced and new items appended."""
    flat, offsets = trie.item_tokens.numpy(), trie.item_offsets.numpy()
    lengths, low = np.diff(offsets), 0
    pieces: list[np.ndarray] = []
    for item, tokens in longer.items():
        pieces += [flat[low : offsets[item]], np.array(tokens)]
        lengths[item], low = len(tokens), offsets[item + 1]
    pieces += [flat[low:], *map(np.array, new)]
    lengths = np.concatenate([lengths, [len(tokens) for tokens in new]])
    return build_trie((np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)])))
