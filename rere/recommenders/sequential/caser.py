"""Caser: convolutions over the last items, read as an image of L rows (items) and D columns (embedding).

Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018, with
these departures:

- No user embedding: whoever is served may be new, and has no trained one. A user is the last L items.
- Softmax cross-entropy over the whole catalogue, one target per window, in place of sampled negatives and the next T.
- Input and output share the item embeddings, with no ReLU on the state between: its product with them needs both signs.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from rere.config.recommenders import SequentialConfig
from rere.recommenders.sequential.base import SequentialRecommender
from rere.recommenders.sequential.networks import WindowNetwork


class CaserConfig(SequentialConfig):
    """Caser (WSDM 2018): convolutions over the last items, softmax over all items, no user embedding."""

    type: Literal["caser"] = "caser"
    width: int = Field(default=64, ge=8)
    vertical: int = Field(default=4, ge=1, description="filters over all positions of one dimension")
    horizontal: int = Field(default=16, ge=1, description="filters of each height, from 1 to `history_items` items")
    dropout: float = Field(default=0.5, ge=0, lt=1)
    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    batch_rows: int = Field(default=512, ge=1, description="windows, of one target each, per update")


class CaserNetwork(WindowNetwork):
    """Horizontal filters, of every height up to L, find a pattern of neighbours wherever it stands (maximum over time);
    vertical filters are weighted sums over the L positions. Padding is a vector of zeros.
    """

    def __init__(self, items: int, config: CaserConfig) -> None:
        super().__init__(items, config)
        width, length = config.width, config.history_items
        nn.init.normal_(self.item.weight[:-1], std=width**-0.5)  # all but padding, which stays zero
        self.horizontal = nn.ModuleList(nn.Conv1d(width, config.horizontal, height) for height in range(1, length + 1))
        self.vertical = nn.Linear(length, config.vertical, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.horizontal * length + config.vertical * width, width)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(B, L) int64 item indices, padded before the start -> (B, D): the state after the last item."""
        image = self.item(items).transpose(1, 2)  # (B, D, L)
        found = [filters(image).relu().amax(2) for filters in self.horizontal]
        return self.output(self.dropout(torch.cat([*found, self.vertical(image).flatten(1)], dim=1)))


class Caser(SequentialRecommender):
    """A fitted Caser, without a user embedding: a history is all it knows of whom it serves."""

    title = "Caser"
    network_type, config_type = CaserNetwork, CaserConfig
