"""A recommendation head: scores of all items from the hidden state after a reasoning, and how that is written.

Axes: I items.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from rere.catalog.index import CatalogIndex
from rere.config.reasoning import ReasoningConfig
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.models.heads import embedding_weights, precise

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

FILE = "recommendation_head"  # stem of its file, beside the model's weights


@dataclass(frozen=True)
class Writing:
    """How a reasoning stands in a sequence: prompt, cue, at most so many tokens, closing.

    cue, closing: token ids; end: the token that ends a reasoning
    """

    cue: tuple[int, ...]
    closing: tuple[int, ...]
    tokens: int
    end: int

    @classmethod
    def of(cls, catalog: CatalogIndex, config: ReasoningConfig) -> Writing:
        """What the settings ask for, spelt by the catalogue's tokenizer.

        Raises:
            RereError: a tokenizer without an end of text.
        """
        spell = catalog.tokenizer
        if spell.eos_token_id is None:
            raise RereError(
                "a tokenizer with an end of text, which ends a reasoning",
                "none",
                "set its `eos_token` (tokenizer_config.json), or use another backbone",
            )
        cue, closing = (spell.encode(text, add_special_tokens=False) for text in (config.cue, config.closing))
        return cls(tuple(cue), tuple(closing), config.tokens, spell.eos_token_id)

    @property
    def room(self) -> int:
        """Tokens after a prompt, at most."""
        return len(self.cue) + self.tokens + len(self.closing)


class RecommendationHead(nn.Module):
    """A linear layer (I, width) with a bias, which is stored with the writing that it was trained on."""

    def __init__(self, weight: Float[Tensor, "I width"], bias: Float[Tensor, " I"], writing: Writing) -> None:
        super().__init__()
        self.weight, self.bias, self.writing = nn.Parameter(weight), nn.Parameter(bias), writing

    @classmethod
    def untrained(cls, model: PreTrainedModel, catalog: CatalogIndex, writing: Writing) -> RecommendationHead:
        """Each item by the mean of its tokens' rows in the language-model head: the model's own first opinion."""
        rows = embedding_weights(model)[-1].detach()
        tokens = [torch.tensor(own, device=rows.device) for own in catalog.item_tokens]
        weight = torch.stack([rows[own].mean(0) for own in tokens])
        return cls(weight, weight.new_zeros(len(weight)), writing)

    def forward(self, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... I"]:
        """(..., I) log-probabilities (nats) of all items."""
        return precise(linear(hidden, self.weight, self.bias)).log_softmax(-1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it, the writing included: a checkpoint's identity covers tensors."""
        writing = self.writing
        numbers = {"cue": writing.cue, "closing": writing.closing, "limits": (writing.tokens, writing.end)}
        return {name: torch.tensor(given, dtype=torch.int64) for name, given in numbers.items()} | {
            "weight": self.weight.detach(),
            "bias": self.bias.detach(),
        }

    @classmethod
    def load(cls, path: Path, catalog: CatalogIndex, device: torch.device) -> RecommendationHead:
        """That of a checkpoint directory.

        Raises:
            RereError: a checkpoint without a head, an altered one, or a head of another catalogue.
        """
        sums = Checkpoint(path).verify()
        if f"{FILE}.safetensors" not in sums:
            raise RereError("a model that was trained to reason", f"{path}, which has no head", "run train_reasoning")
        found = load_file(path / f"{FILE}.safetensors", device=str(device))
        if len(found["weight"]) != len(catalog.item_ids):
            raise RereError(
                f"a head over the catalogue's {len(catalog.item_ids):,} items",
                f"one over {len(found['weight']):,}",
                "use the catalogue that it was trained on",
            )
        tokens, end = found["limits"].tolist()
        cue, closing = tuple(found["cue"].tolist()), tuple(found["closing"].tolist())
        return cls(found["weight"], found["bias"], Writing(cue, closing, tokens, end))
