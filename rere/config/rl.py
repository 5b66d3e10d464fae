"""Settings of reinforcement learning."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from rere.config.base import Settings
from rere.config.catalog import Embedding
from rere.config.decoding import FreeSampling, Normalisation
from rere.config.training import InProcesses, UpdateSettings
from rere.config.variants import OneOf, Variant


class RewardSettings(Variant):
    """What the settings of all rewards have."""

    needs_teacher: ClassVar[bool] = False  # asks the item model for its log-probabilities
    needs_following: ClassVar[bool] = False  # asks what the user took after the target

    weight: float = 1.0

    @property
    def item_vectors(self) -> Embedding | None:
        """The vectors by which candidates and targets are compared, where the reward needs them."""
        return None


class SamplerSettings(Variant):
    """What the settings of all samplers have."""

    unconstrained: ClassVar[FreeSampling | None] = None  # the same without the constraint, where there is such a thing


class LossSettings(Variant):
    """What the settings of all losses have."""

    needs_target: ClassVar[bool] = False  # the target must be among the candidates
    clips: ClassVar[bool] = False  # keeps the policy near that of the rollout, so a rollout may have several steps


class AllRows(Settings):
    """Every training row."""

    type: Literal["all"] = "all"


class NewestRows(Settings):
    """The training rows with the latest targets, those most like what comes."""

    type: Literal["newest"] = "newest"
    share: float = Field(default=0.2, gt=0, le=1, description="of the training rows; equally late ones come along")


class KeptUsersRows(Settings):
    """The training rows of the users that fine-tuning leaves out, so that nobody has learned them by heart."""

    type: Literal["kept_users"] = "kept_users"
    share: float = Field(default=0.2, gt=0, lt=1, description="of the users: what sft.kept_users says")


class RealHistories(Settings):
    """Histories as they are."""

    type: Literal["real"] = "real"


class AlteredHistories(Settings):
    """Histories changed by chance at each update, so that no prompt is one that fine-tuning learned by heart."""

    type: Literal["altered"] = "altered"
    share: float = Field(default=0.5, gt=0, le=1, description="of the prompts whose history is altered")
    leave_out: float = Field(default=0.3, ge=0, lt=1, description="probability of each item to be left out")
    crop: float = Field(
        default=0.3, ge=0, le=1, description="probability that only the latest items stay, from one to all of them"
    )


RLRows = Annotated[AllRows | NewestRows | KeptUsersRows, Field(discriminator="type")]
Histories = Annotated[RealHistories | AlteredHistories, Field(discriminator="type")]


class RLConfig(InProcesses, UpdateSettings):
    """ReRe's reinforcement learning; names are TRL's where TRL has one."""

    model_config = ConfigDict(defer_build=True)

    renamed: ClassVar[dict[str, str]] = {
        **InProcesses.renamed,
        **UpdateSettings.renamed,
        "group": "num_generations",
        "kl": "beta",
        "reference_sync_updates": "ref_model_sync_steps",
        "reference_mixup": "ref_model_mixup_alpha",
    }

    rows: RLRows = Field(default=AllRows(), description="training rows that are prompts: all, newest or kept_users")
    histories: Histories = Field(
        default=RealHistories(), description="of the prompts: real, or altered (needs prefill: window)"
    )
    num_generations: int = Field(default=16, ge=2, description="candidates per prompt, G")
    generation: Literal["constrained", "unconstrained"] = Field(
        default="constrained", description="unconstrained: whatever the model writes, items or not (needs code: title)"
    )
    sampling: Annotated[SamplerSettings, OneOf("rere.training.rl.samplers.registry:SAMPLERS")] = Field(
        default="beam", validate_default=True, description="where candidates come from: beam, multinomial or dynamic"
    )
    normalisation: Normalisation = Field(
        default="trie", description="log-probabilities over the vocabulary (the paper) or over allowed children"
    )
    rewards: tuple[Annotated[RewardSettings, OneOf("rere.training.rl.rewards.registry:REWARDS")], ...] = Field(
        default=({"type": "rule"}, {"type": "collaborative", "scale": "log"}),
        validate_default=True,
        min_length=1,
        description="each by its name, or as {type: name, weight: 2.0, ...}",
    )
    ground_truth: Literal["off", "add"] = Field(
        default="add", description="add: a group that misses the target gets it in place of its last candidate"
    )
    loss: Annotated[LossSettings, OneOf("rere.training.rl.losses.registry:LOSSES")] = Field(
        default="mpo",
        validate_default=True,
        description="grpo, dapo, gspo, sibling_grpo, anchored_grpo, riser, or mpo: cross-entropy of the group's "
        "softmax to reference times exp(reward)",
    )
    advantage: Annotated[Variant, OneOf("rere.training.rl.advantages.registry:ADVANTAGES")] = Field(
        default="group_std",
        validate_default=True,
        description="group_std: divided by the group's deviation; none: only its mean is removed",
    )
    num_iterations: int = Field(
        default=1,
        ge=1,
        description="optimiser steps per rollout, the ratio to the rollout's policy clipped (loss: grpo, dapo or gspo)",
    )
    beta: float = Field(default=1e-3, ge=0, description="weight of the k3 KL to the reference")
    ref_model_sync_steps: int = Field(default=512, ge=1)
    ref_model_mixup_alpha: float = Field(default=0.6, ge=0, le=1, description="share of the policy at a sync")
    learning_rate: PositiveFloat = 1e-4
    updates: PositiveInt | None = 200
    epochs: PositiveInt = 2
    validate_every: int = Field(default=50, ge=1, description="updates between validations")
    keep: Literal["best", "last"] = Field(default="best", description="by validation NDCG@10; the start counts too")

    @property
    def asks_teacher(self) -> bool:
        """Whether an item model is needed."""
        return any(reward.needs_teacher for reward in self.rewards)

    @property
    def asks_following(self) -> bool:
        """Whether what users took after their targets is needed."""
        return any(reward.needs_following for reward in self.rewards)

    @model_validator(mode="after")
    def _the_target_is_there(self) -> RLConfig:
        if self.loss.needs_target and self.ground_truth == "off":
            raise ValueError(f"loss: {self.loss.type} goes with ground_truth: add, since it scores the target")
        return self

    @model_validator(mode="after")
    def _several_steps_are_clipped(self) -> RLConfig:
        if self.num_iterations > 1 and not self.loss.clips:
            raise ValueError(
                f"num_iterations: {self.num_iterations} goes with loss: grpo, dapo or gspo, which clip the ratio to "
                f"the rollout's policy; {self.loss.type} takes one step per rollout"
            )
        return self

    @model_validator(mode="after")
    def _altered_histories_share_no_trunk(self) -> RLConfig:
        if self.histories.type == "altered" and self.prefill.type != "window":
            raise ValueError(
                "histories: {type: altered} goes with prefill: {type: window}: altered ones share no items"
            )
        return self

    @model_validator(mode="after")
    def _unconstrained_is_plain(self) -> RLConfig:
        no_free_draws = self.sampling.unconstrained is None
        taken_for_items = (self.normalisation == "trie", self.ground_truth == "add", no_free_draws)
        if self.generation == "unconstrained" and any(taken_for_items):
            raise ValueError(
                "unconstrained generation goes with normalisation: vocab, ground_truth: off, and beam or multinomial "
                "sampling: the others take what is generated for items"
            )
        if self.generation == "unconstrained" and self.prefill.type != "window":
            raise ValueError("unconstrained generation goes with prefill: {type: window}: stock `generate` runs it")
        return self
