"""Settings of decoding: how candidates are sampled, how probabilities are normalised, how a search runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rere.config.base import Settings


class Beam(Settings):
    """G distinct items by constrained beam search (the paper's)."""

    type: Literal["beam"] = "beam"


class Multinomial(Settings):
    """G independent draws from the model's distribution over the catalogue; repeats possible."""

    type: Literal["multinomial"] = "multinomial"


class Dynamic(Settings):
    """More draws than needed; of them the target, then distinct negatives, then repeats (ReRe)."""

    type: Literal["dynamic"] = "dynamic"
    oversample: float = Field(default=1.5, ge=1, description="draws, as a multiple of the group")


Sampling = Annotated[Beam | Multinomial | Dynamic, Field(discriminator="type")]

Normalisation = Literal["vocab", "trie"]


class SearchSettings(Settings):
    """How a beam search runs."""

    beams: int = Field(ge=1, description="branches kept per prompt, and the number of items returned")
    normalisation: Normalisation = "vocab"
    prefix_tokens: int = Field(
        default=0, ge=0, description="prompt tokens whose keys and values are kept for later searches; 0: none"
    )
    lookahead_tokens: int = Field(
        default=0, ge=0, description="forwards smaller than this also run the next depths; 0: none"
    )
