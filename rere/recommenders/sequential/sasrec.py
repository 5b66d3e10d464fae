"""SASRec: a causal transformer over item ids, the rival that a language model has to beat.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with these departures:

- Softmax cross-entropy over the whole catalogue in place of one sampled negative. With one negative SASRec
  grows overconfident and is a weak rival; with this loss it overtakes BERT4Rec (Klenitskiy and Vasilev,
  "Turning Dross Into Gold Loss", arXiv 2309.07602; Petrov and Macdonald, "gSASRec", arXiv 2308.07192).
- Pre-norm layers with GELU.
- Positions are counted from the start of the input, and every epoch cuts the sequences at other random places.
  Each position so meets each amount of context: a test history shorter than the training rows is nothing unusual.
- AdamW with a one-cycle learning rate; the weights of the best validation epoch are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rere.config.recommenders import SASRecConfig
from rere.recommenders.sequential.base import SequentialRecommender, fit_sequential
from rere.recommenders.sequential.networks import CausalNetwork


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
            nn.init.normal_(embedding.weight, std=config.width**-0.5)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 item indices -> (B, T, D): the state after each item."""
        length = items.shape[1]
        states = self.dropout(self.item(items) + self.position.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=items.device)
        return self.layers(states, mask=mask, is_causal=True)


class SASRec(SequentialRecommender):
    """A fitted SASRec."""

    title, key = "SASRec", "sasrec"
    network_type, config_type = SASRecNetwork, SASRecConfig


def fit_sasrec(
    sequences: Sequence[np.ndarray],
    items: int,
    valid_histories: Sequence[Sequence[int]],
    valid_targets: Sequence[int],
    config: SASRecConfig,
) -> SASRec:
    """Train on users' sequences of item indices, oldest first: see `fit_sequential`."""
    return fit_sequential(SASRec, sequences, items, valid_histories, valid_targets, config)
