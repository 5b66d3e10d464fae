"""Room in a model's context for what it is asked.

Training is held against the rows that there are, not against the worst that could be: ten times the longest title
seldom occurs, and would shut out short contexts. A search refuses what its model can't read, whoever asks.
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
    """Tokens that a model with this transformers config reads at most; None where it names no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def require_room(context: int | None, tokens: int, remedy: str = REMEDY) -> None:
    """Raises RereError where so many tokens, a prompt's and an item's, are more than the context."""
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
    return len(catalog.prompt_head) + int(longest) + catalog.trie.max_length


def longest_possible(catalog: CatalogIndex, history_items: int) -> int:
    """Tokens of a prompt of the catalogue's longest item again and again, with that item after it."""
    return len(catalog.prompt_head) + (history_items + 1) * catalog.trie.max_length
