"""Settings of the item index: what item codes share, and item vectors."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from rere.config.backbone import Backbone, ScratchModel
from rere.config.base import Seed, Settings
from rere.config.variants import OneOf, Variant


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


class CodeSettings(Variant):
    """What the settings of all item codes have."""

    ends: ClassVar[bool] = False  # with an end token: without the constraint, generation knows where an item ends
    one_token: ClassVar[bool] = False  # per item, and the tokenizer doesn't know it: see rere/models/item_tokens.py

    @property
    def item_vectors(self) -> Embedding | None:
        """The vectors of which codes are made, where they are."""
        return None


class IndexConfig(Settings):
    model_config = ConfigDict(defer_build=True)

    renamed: ClassVar[dict[str, str]] = {"semantic": "code: {type: semantic, ...}"}

    backbone: Backbone = ScratchModel()
    code: Annotated[CodeSettings, OneOf("rere.catalog.codes.registry:CODES")] = Field(
        default="item",
        validate_default=True,
        description="title: all tokens of the title (the paper); prefix: its shortest prefix that no other item "
        "shares; semantic: residual k-means codewords as new tokens; item: one new token per item, whose embedding is "
        "the mean of its title's tokens plus a vector of its own; file: what a JSON file says",
    )
    instruction: str = Field(default="", description="text before the history")
    seed: Seed = 0
