"""Settings of the item models: rivals and teachers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rere.config.base import Seed, Settings


class SASRecConfig(Settings):
    layers: int = Field(default=2, ge=1)
    width: int = Field(default=128, ge=8)
    heads: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=128, ge=8, description="width of the hidden layer between attentions")
    dropout: float = Field(default=0.4, ge=0, lt=1)
    history_items: int = Field(
        default=10,
        ge=1,
        description="items looked at; as many as `windows.history_items`: longer rows rank worse there",
    )
    epochs: int = Field(default=15, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=128, ge=1, description="rows of up to `history_items` targets an update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: Seed = 0

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> SASRecConfig:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class EASEConfig(Settings):
    """EASE (arXiv 1905.03375): a closed-form item-item model."""

    l2: float = Field(default=300.0, gt=0, description="penalty on the squared weights")
    recency: float = Field(
        default=0.6, gt=0, le=1, description="an item j places before a history's last counts recency^j; the paper: 1"
    )


class GRU4RecConfig(Settings):
    """GRU4Rec (arXiv 1511.06939) with softmax over all items."""

    layers: int = Field(default=1, ge=1)
    width: int = Field(default=128, ge=8)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    history_items: int = Field(default=10, ge=1, description="items looked at")
    epochs: int = Field(default=15, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=128, ge=1, description="rows of up to `history_items` targets an update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: Seed = 0


class CaserConfig(Settings):
    """Caser (WSDM 2018): convolutions over the last items, softmax over all items, no user embedding."""

    width: int = Field(default=64, ge=8)
    vertical: int = Field(default=4, ge=1, description="filters over all places of one dimension")
    horizontal: int = Field(default=16, ge=1, description="filters of each height, from 1 to `history_items` items")
    dropout: float = Field(default=0.5, ge=0, lt=1)
    history_items: int = Field(default=10, ge=1, description="items looked at")
    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_rows: int = Field(default=512, ge=1, description="windows, of one target each, an update")
    patience: int = Field(default=5, ge=1, description="epochs without a better validation NDCG@10")
    seed: Seed = 0


ItemModel = Literal["sasrec", "gru4rec", "caser"]


class ItemModelsConfig(Settings):
    """Which item models are fitted and judged beside the generative ones, and which one teaches."""

    rivals: tuple[ItemModel, ...] = Field(default=("sasrec", "gru4rec", "caser"), min_length=1)
    teacher: Literal["best", "sasrec", "gru4rec", "caser"] = Field(
        default="best",
        description="asked by the collaborative reward; best: the rival with the best validation NDCG@10",
    )
    sasrec: SASRecConfig = SASRecConfig()
    gru4rec: GRU4RecConfig = GRU4RecConfig()
    caser: CaserConfig = CaserConfig()
