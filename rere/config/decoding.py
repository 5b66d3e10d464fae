"""Settings of decoding: how candidates are sampled, how probabilities are normalised, how a search runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rere.config.base import Settings


class Beam(Settings):
    """Distinct sequences by beam search."""

    type: Literal["beam"] = "beam"


class Multinomial(Settings):
    """Independent draws from the model's distribution; repeats possible."""

    type: Literal["multinomial"] = "multinomial"


FreeSampling = Beam | Multinomial

Normalisation = Literal["vocab", "trie"]
InferencePrecision = Literal["float32", "bfloat16", "int8"]


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
