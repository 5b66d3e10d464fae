"""Settings of what is registered beside a model's weights: for new users, for new items, an item model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rere.config.base import Settings

Share = Annotated[float, Field(gt=0, lt=1)]


class BlendConfig(Settings):
    """An item model in every search: a score is (1 - share) · log p of the language model + share · log p of it."""

    item_model: str = Field(
        default="best", description="one of `item_models.rivals`; best: the one with the best validation NDCG@10"
    )
    share: Literal["fitted"] | Share = Field(
        default="fitted", description="fitted: the tenth with the best NDCG@10 on half of the validation users; 0: none"
    )
    validation_rows: int = Field(default=500, ge=1, description="rows of that half that are searched for each share")


class ServedModelConfig(Settings):
    cold_start: Literal["popularity", "refuse"] = Field(
        default="popularity",
        description="who names no known item gets what was popular in the training period, marked as such; or is "
        "refused",
    )
    new_item_exposure: float = Field(
        default=0.1,
        gt=0,
        description="wherever popularity or an item model counts, an item without training interactions has this much "
        "of the average probability of the others; also one that is added while serving",
    )
    blend: BlendConfig | None = Field(
        default=None, description="an item model's part in what is judged and served; null: none"
    )
