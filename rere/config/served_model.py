"""Settings of what is registered beside a model's weights: answers for new users, and exposure of new items."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rere.config.base import Settings


class ServedModelConfig(Settings):
    cold_start: Literal["popularity", "refuse"] = Field(
        default="popularity",
        description="who names no known item gets what was popular in the training period, marked as such; or is "
        "refused",
    )
    new_item_exposure: float = Field(
        default=0.1,
        gt=0,
        description="wherever popularity counts, an item without training interactions has this much of the average "
        "probability of the others; also one that is added while serving",
    )
