"""Checks that prompts and items fit into a model's context.

Training checks the longest row that there is, not the longest that could be: ten times the longest title rarely
occurs, and would rule out models with short contexts. A search refuses any prompt that its model cannot read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rere.catalog.index import CatalogIndex
from rere.data.dataset import Windows
from rere.data.histories import Histories
from rere.errors import RereError

REMEDY = (
    "fewer `windows.history_items`, shorter codes (`catalog.code: prefix`, a smaller `data.title_characters`) or "
    "another backbone"
)


def context_of(config: Any) -> int | None:
    """The most tokens that a model with this transformers config reads; None if it names no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def require_room(context: int | None, tokens: int, remedy: str = REMEDY) -> None:
    """Raises RereError if the tokens of a prompt and an item exceed the context."""
    if context is not None and tokens > context:
        raise RereError(
            f"prompts that fit, each with an item after it, into the model's context of {context:,} tokens",
            f"{tokens:,}",
            remedy,
        )


def longest_prompt(windows: Windows, catalog: CatalogIndex) -> int:
    """Tokens of the longest prompt of any period, with the longest item of the catalogue after it."""
    histories = Histories.of(windows.table["history"])
    tokens = np.diff(catalog.trie.item_offsets.numpy())
    by_name = np.array([tokens[catalog.index_of[name]] if name in catalog.index_of else 0 for name in histories.names])
    upto = np.concatenate([[0], np.cumsum(by_name[histories.items.codes])])
    longest = (upto[histories.starts + histories.lengths] - upto[histories.starts]).max(initial=0)
    return catalog.frame_tokens + int(longest) + catalog.trie.max_length


def longest_possible(catalog: CatalogIndex, history_items: int) -> int:
    """Tokens of a prompt whose items are all the catalogue's longest, with that item after it."""
    return catalog.frame_tokens + (history_items + 1) * catalog.trie.max_length
