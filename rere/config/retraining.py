"""Settings of retraining."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rere.config.base import ModelName, Settings


class FromChampion(Settings):
    """Fine-tuning goes on from the champion's weights, with its tokenizer and the codes of its items."""

    type: Literal["champion"] = "champion"
    epochs: int = Field(default=2, ge=1, description="in place of `sft.epochs`")
    learning_rate: float = Field(default=1e-3, gt=0, description="in place of `sft.learning_rate`")
    maximum_new_items: float = Field(
        default=0.5, ge=0, le=1, description="share of the catalogue that the champion doesn't know; above it, afresh"
    )


class FromBackbone(Settings):
    """Fine-tuning starts from the backbone, as a first run does."""

    type: Literal["backbone"] = "backbone"


Start = Annotated[FromChampion | FromBackbone, Field(discriminator="type")]


class BaseVersion(Settings):
    """A registered version instead of the champion, as `rere config` names it of a version that was made from it."""

    type: Literal["version"] = "version"
    model: ModelName
    version: str = Field(pattern=r"^[0-9]+$")


class RetrainConfig(Settings):
    base: Literal["champion", "none"] | BaseVersion = Field(
        default="champion",
        description="rows that new ones are added to: the champion's; those of {type: version, model: rere, "
        "version: '7'}; or none, and the whole source is read anew (also rows that came late, and without those that "
        "the source deleted)",
    )
    deleted: Literal["keep", "forget"] = Field(
        default="keep",
        description="interactions of the base that the source no longer has: kept, as where it holds new rows only; or "
        "forgotten, as after requests to erase: then training starts from the backbone",
    )
    minimum_new_interactions: int = Field(default=1, ge=1, description="with fewer, the run is skipped")
    start: Start = FromChampion()
