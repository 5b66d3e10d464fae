"""SASRec: a causal transformer over item ids, the rival that a language model has to beat.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with these departures:

- Softmax cross-entropy over the whole catalogue in place of one sampled negative. With one negative SASRec
  grows overconfident and is a weak rival; with this loss it overtakes BERT4Rec (Klenitskiy and Vasilev,
  "Turning Dross Into Gold Loss", arXiv 2309.07602; Petrov and Macdonald, "gSASRec", arXiv 2308.07192).
- Pre-norm layers with GELU.
- Positions are counted from the start of the input, and every epoch cuts the sequences at other random positions.
  Each position so meets each amount of context: a test history shorter than the training rows is nothing unusual.
- AdamW with a one-cycle learning rate; the weights of the best validation epoch are kept.
- Item and position embeddings begin small, as BERT's do (normal, standard deviation .02). Begun at width ** -.5, whose
  products are as large as a trained model's, half of the epochs learn popularity alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from rere.config.recommenders import SequentialConfig
from rere.recommenders.sequential.base import SequentialRecommender
from rere.recommenders.sequential.networks import CausalNetwork

BEGUN_AT = 0.02  # standard deviation of embeddings before training


class SASRecConfig(SequentialConfig):
    """SASRec (ICDM 2018) with softmax over all items."""

    type: Literal["sasrec"] = "sasrec"
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=128, ge=8, description="width of the hidden layer between attentions")
    dropout: float = Field(default=0.4, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> SASRecConfig:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class SASRecNetwork(CausalNetwork):
    """Causal transformer. Padding only ever follows the real items, so the causal mask hides it."""

    def __init__(self, items: int, config: SASRecConfig) -> None:
        super().__init__(items, config)
        self.position = nn.Embedding(config.history_items, config.width)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.feed_forward,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        for embedding in (self.item, self.position):
            nn.init.normal_(embedding.weight, std=BEGUN_AT)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 item indices -> (B, T, D): the state after each item."""
        length = items.shape[1]
        states = self.dropout(self.item(items) + self.position.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=items.device)
        return self.layers(states, mask=mask, is_causal=True)


class SASRec(SequentialRecommender):
    """A fitted SASRec."""

    title = "SASRec"
    network_type, config_type = SASRecNetwork, SASRecConfig
