"""GRU4Rec: a recurrent network over item ids.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016
(arXiv 1511.06939), with these departures:

- Softmax cross-entropy over the whole catalogue in place of a ranking loss on the batch's other targets.
- Input and output share the item embeddings (Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains",
  CIKM 2018, arXiv 1706.03847: "constrained embeddings"); a linear layer leads from the hidden state to them.
- Rows of `cut_rows`, each from an empty hidden state, in place of session-parallel batches: a user is one session.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from rere.config.recommenders import SequentialConfig
from rere.recommenders.sequential.base import SequentialRecommender
from rere.recommenders.sequential.networks import CausalNetwork


class GRU4RecConfig(SequentialConfig):
    """GRU4Rec (arXiv 1511.06939) with softmax over all items."""

    type: Literal["gru4rec"] = "gru4rec"
    layers: int = Field(default=1, ge=1)


class GRU4RecNetwork(CausalNetwork):
    """Gated recurrent units from left to right; padding only ever follows the real items."""

    def __init__(self, items: int, config: GRU4RecConfig) -> None:
        super().__init__(items, config)
        nn.init.normal_(self.item.weight, std=config.width**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        between = config.dropout if config.layers > 1 else 0.0
        self.layers = nn.GRU(config.width, config.width, config.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 item indices -> (B, T, D): the state after each item."""
        states, _ = self.layers(self.dropout(self.item(items)))
        return self.output(self.dropout(states))


class GRU4Rec(SequentialRecommender):
    """A fitted GRU4Rec."""

    title = "GRU4Rec"
    network_type, config_type = GRU4RecNetwork, GRU4RecConfig
