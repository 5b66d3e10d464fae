"""Settings of preference training (DPO, S-DPO, DynamicPO, NAPO), and of its place in a pipeline."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt

from rere.config.base import Settings
from rere.config.training import InProcesses, UpdateSettings
from rere.config.variants import OneOf, Variant


class OwnNegatives(Settings):
    """A prompt has its own negatives alone."""

    type: Literal["none"] = "none"


class SimilarUsersNegatives(Settings):
    """A prompt has the negatives of the most similar prompts of its forward, too (NAPO, arXiv 2508.09653)."""

    type: Literal["similar_users"] = "similar_users"
    share: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="of the other prompts (`device_batch_prompts` less one), most similar first",
    )


InBatch = Annotated[OwnNegatives | SimilarUsersNegatives, Field(discriminator="type")]


class PreferenceConfig(InProcesses, UpdateSettings):
    """DPO (arXiv 2305.18290), S-DPO (arXiv 2406.09215) and what came after them, from the fine-tuned model."""

    model_config = ConfigDict(defer_build=True)

    renamed: ClassVar[dict[str, str]] = {**InProcesses.renamed, **UpdateSettings.renamed}

    negatives: int = Field(default=3, ge=1, description="rejected items per prompt; 1 is DPO, more is S-DPO")
    source: Literal["random", "beam"] = Field(
        default="random", description="negatives: uniform over the catalogue (S-DPO's), or the start's own beams"
    )
    in_batch: InBatch = Field(
        default=OwnNegatives(), description="further negatives, from the other prompts of the same forward"
    )
    loss: Annotated[Variant, OneOf("rere.training.preference.losses.registry:PREFERENCE_LOSSES")] = Field(
        default="s_dpo",
        validate_default=True,
        description="s_dpo (DPO with one negative), dynamic_po or napo",
    )
    beta: float = Field(default=1.0, gt=0)
    learning_rate: PositiveFloat = 1e-4
    updates: PositiveInt | None = 600
    epochs: PositiveInt = 3


class PreferenceStageConfig(PreferenceConfig):
    """Preference training as a stage of a run, after fine-tuning."""

    place: Literal["before_rl", "beside_rl", "instead_of_rl"] = Field(
        default="before_rl",
        description="before_rl: RL starts from its model, the reference; beside_rl: RL starts from the fine-tuned "
        "model too, both are judged and RL's is served; instead_of_rl: there is no RL, and its model is served",
    )

    @property
    def training(self) -> PreferenceConfig:
        """How it trains, which is the same in each place. All of it counts as set: ZenML keeps nothing else."""
        return PreferenceConfig.model_validate(self.model_dump(exclude={"place"}))
