"""New items in a catalogue that a model was trained on: it learned the old items' codes, so they stay."""

from __future__ import annotations

import dataclasses

import pandas as pd

from rere.catalog.codes.base import CodeInputs, as_code
from rere.catalog.index import CatalogIndex, distinct_texts
from rere.errors import RereError


def extend_index(catalog: CatalogIndex, added: pd.DataFrame) -> CatalogIndex:
    """The catalogue with the items `added` (item_id, title) after its own; the old items' indices stay.

    Nothing else is known of the added ones: their further columns are missing.

    Raises:
        RereError: a known or repeated id, a title that can't be spelt, or a code that takes no new items.
    """
    if not len(added):
        return catalog
    ids = added["item_id"]
    taken = ids[ids.isin(catalog.items["item_id"]) | ids.duplicated()]
    if len(taken):
        raise RereError("items with ids of their own", f"ids in use: {taken.tolist()[:5]}", "leave them out")
    titles = added["title"]
    texts = distinct_texts(ids, titles, {*catalog.items["title"], *catalog.items["text"]})
    code = as_code(catalog.config.code)
    rows = pd.DataFrame({"item_id": ids, "title": titles, "text": texts})
    inputs = CodeInputs(rows, catalog.tokenizer, catalog.config.seed, catalog.item_tokens_made)
    return dataclasses.replace(
        catalog,
        items=pd.concat([catalog.items, rows], ignore_index=True),
        trie=code.extend(catalog.trie, catalog.items, inputs),
        columns=catalog.columns.reindex(range(len(catalog.items) + len(rows))),
        item_tokens_made=catalog.item_tokens_made + (len(rows) if code.one_token else 0),
    )
