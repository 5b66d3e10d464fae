"""Code: semantic IDs, the codewords of the item's vector as new tokens `<s0_17><s1_4>...` (TIGER, arXiv 2305.05065).

There is no end token, for no code begins another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from rere.catalog.codes.base import CodeInputs, ItemCode, new_tokens
from rere.catalog.trie import TokenTrie, build_trie
from rere.config.catalog import Embedding, Quantiser, ResidualKMeans, TitleEmbedding


class SemanticCode(ItemCode):
    """Semantic IDs: quantised item vectors (TIGER, arXiv 2305.05065)."""

    new_names: ClassVar[bool] = True

    type: Literal["semantic"] = "semantic"
    embedding: Embedding = TitleEmbedding()
    levels: int = Field(default=2, ge=1, description="codewords per item, before what resolves collisions")
    codewords: int = Field(default=256, ge=2, description="clusters per level, at most")
    quantiser: Quantiser = Field(default=ResidualKMeans(), description="what makes codewords of item vectors")

    @property
    def item_vectors(self) -> Embedding:
        return self.embedding

    def tokenizer_texts(self, items: pd.DataFrame, instruction: str) -> Iterable[str]:
        """The instruction: no title is ever spelt."""
        return [instruction]

    def build(self, given: CodeInputs) -> TokenTrie:
        """See `ItemCode`; every codeword in use becomes a token."""
        # Only this code needs scikit-learn: a served model goes without.
        from rere.catalog.item_vectors import item_vectors
        from rere.catalog.semantic_ids import semantic_codes

        words = given.descriptions or given.items["title"].tolist()
        vectors = item_vectors(words, self.embedding, given.sequences, given.seed)
        codes = semantic_codes(vectors, self.levels, self.codewords, given.seed, self.quantiser)
        used = sorted({pair for code in codes for pair in enumerate(code)})
        tokens = new_tokens(given.tokenizer, [_name(level, codeword) for level, codeword in used])
        return build_trie([[tokens[_name(level, codeword)] for level, codeword in enumerate(code)] for code in codes])


def _name(level: int, codeword: int) -> str:
    return f"<s{level}_{codeword}>"
