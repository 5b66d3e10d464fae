"""Code: one token per item, after all tokens of the tokenizer, which doesn't know them.

What they mean is in the model's embedding (rere/models/item_tokens.py). A token is never given to another item, even
where the first one has left the catalogue: a model's embedding would still mean the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import pandas as pd

from rere.catalog.codes.base import CodeInputs, ItemCode, appended
from rere.catalog.tokenization import BATCH_TITLES, spell
from rere.catalog.trie import TokenTrie, build_trie


class ItemTokenCode(ItemCode):
    """One new token per item, whose embedding is the mean of its title's tokens plus a vector of its own."""

    one_token: ClassVar[bool] = True

    type: Literal["item"] = "item"

    def tokenizer_texts(self, items: pd.DataFrame, instruction: str) -> Iterable[str]:
        """Titles as they are: no id has to tell them apart."""
        return items["title"]

    def build(self, given: CodeInputs) -> TokenTrie:
        return build_trie(_next_tokens(given))

    def extend(self, trie: TokenTrie, known: pd.DataFrame, added: CodeInputs) -> TokenTrie:
        """See `ItemCode`; no known code changes."""
        return appended(trie, _next_tokens(added))


def _next_tokens(given: CodeInputs) -> list[list[int]]:
    """The next free token for each item.

    Raises:
        RereError: a title that can't be spelt: the token would mean nothing.
    """
    titles = given.items["title"].tolist()
    for low in range(0, len(titles), BATCH_TITLES):
        spell(given.tokenizer, titles[low : low + BATCH_TITLES])
    first = len(given.tokenizer) + given.item_tokens_made
    return [[token] for token in range(first, first + len(titles))]
