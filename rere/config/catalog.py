"""Settings of the item index: codes and item vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rere.config.backbone import Backbone, ScratchModel
from rere.config.base import Seed, Settings


class TitleEmbedding(Settings):
    """Item vectors from titles: TF-IDF over words and character n-grams, reduced by truncated SVD."""

    type: Literal["tfidf"] = "tfidf"
    dimensions: int = Field(default=64, ge=2)


class SentenceEmbedding(Settings):
    """Item vectors from titles by a sentence-transformers model (hub id or directory; an optional package)."""

    type: Literal["sentence_transformer"] = "sentence_transformer"
    model: str
    revision: str = Field(default="main", description="of a hub model: a branch, a tag or, to stay the same, a commit")


Embedding = Annotated[TitleEmbedding | SentenceEmbedding, Field(discriminator="type")]


class SemanticCodes(Settings):
    """Semantic IDs by residual k-means over item vectors (TIGER, arXiv 2305.05065)."""

    embedding: Embedding = TitleEmbedding()
    levels: int = Field(default=2, ge=1, description="codewords per item, before what resolves collisions")
    codewords: int = Field(default=256, ge=2, description="clusters per level, at most")


class IndexConfig(Settings):
    backbone: Backbone = ScratchModel()
    code: Literal["title", "prefix", "semantic", "item"] = Field(
        default="item",
        description="title: all tokens of the title (the paper); prefix: its shortest prefix that no other item "
        "shares; semantic: residual k-means codewords as new tokens (`semantic` sets them); item: one new token per "
        "item, whose embedding is the mean of its title's tokens plus a vector of its own",
    )
    semantic: SemanticCodes = SemanticCodes()
    instruction: str = Field(default="", description="text before the history")
    seed: Seed = 0
