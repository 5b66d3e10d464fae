"""Settings of the item index: what item codes share, and item vectors."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveFloat, model_validator

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


TitleVectors = Annotated[TitleEmbedding | SentenceEmbedding, Field(discriminator="type")]


class FromUsers(Settings):
    """What item vectors from users' sequences of the training period have in common."""

    dimensions: int = Field(default=64, ge=2, description="of the part that is made of users' sequences")
    window: int = Field(default=10, ge=1, description="positions apart, at most, of items that count as taken together")
    title: TitleVectors = Field(default=TitleEmbedding(), description="item vectors from titles")


class CollaborativeEmbedding(FromUsers):
    """Item vectors from what users took together in the training period (PPMI, reduced by truncated SVD).

    An item that nobody took with another has the mean of the vectors of the items with the nearest titles.
    """

    type: Literal["collaborative"] = "collaborative"


class BothEmbedding(FromUsers):
    """Item vectors from titles and collaborative ones, each of unit length, side by side."""

    type: Literal["both"] = "both"
    weight: float = Field(default=0.5, gt=0, lt=1, description="of the collaborative part in the cosine of two items")


Embedding = Annotated[
    TitleEmbedding | SentenceEmbedding | CollaborativeEmbedding | BothEmbedding, Field(discriminator="type")
]


def title_vectors(embedding: Embedding) -> TitleVectors:
    """The vectors from titles that these item vectors are, or are made with."""
    return embedding.title if isinstance(embedding, FromUsers) else embedding


class ResidualKMeans(Settings):
    """Codewords are the centroids of k-means over what the levels before have left over."""

    type: Literal["residual_kmeans"] = "residual_kmeans"


class RQVAE(Settings):
    """Codewords are learned with a residual-quantised autoencoder (TIGER, arXiv 2305.05065), on the CPU."""

    type: Literal["rq_vae"] = "rq_vae"
    width: int = Field(default=32, ge=1, description="of the space that is quantised")
    hidden: int = Field(default=128, ge=1, description="units between it and the item vectors")
    updates: int = Field(default=3000, ge=1, description="each of 1,024 items, or of all where there are fewer")
    learning_rate: PositiveFloat = 1e-3
    commitment: float = Field(default=0.25, ge=0, description="weight of what draws items to their codewords")


Quantiser = Annotated[ResidualKMeans | RQVAE, Field(discriminator="type")]


class CodeSettings(Variant):
    """What the settings of all item codes have."""

    ends: ClassVar[bool] = False  # with an end token: without the constraint, generation knows where an item ends
    new_names: ClassVar[bool] = False  # of new tokens that no pretrained model has read
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
    text_columns: tuple[str, ...] = Field(
        default=(),
        description="columns of the items table (the source's item_columns) that item vectors and sft.alignment read "
        "after the title",
    )
    instruction: str | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default="",
        description="text before the history; of several texts training draws one for each row and epoch, and "
        "evaluation and serving take the first",
    )
    prompt: Literal["plain", "chat"] = Field(
        default="plain",
        description="chat: instruction and history are a user's message in the tokenizer's own chat template (a "
        "pretrained backbone's; needs sft.rows: window, and prefill: window in rl and preference)",
    )
    seed: Seed = 0

    @property
    def instructions(self) -> tuple[str, ...]:
        return (self.instruction,) if isinstance(self.instruction, str) else self.instruction

    @property
    def alignable(self) -> bool:
        """Whether `sft.alignment` has something to teach: the backbone has read titles, and no such codes."""
        return self.code.new_names and not isinstance(self.backbone, ScratchModel)

    @model_validator(mode="after")
    def _scratch_models_know_no_chat(self) -> IndexConfig:
        if self.prompt == "chat" and isinstance(self.backbone, ScratchModel):
            raise ValueError("prompt: chat goes with a pretrained backbone, whose tokenizer has a chat template")
        return self
