"""Settings of reinforcement learning."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rere.config.base import Settings
from rere.config.catalog import Embedding, TitleEmbedding
from rere.config.decoding import Beam, Normalisation, Sampling
from rere.config.training import InProcesses, UpdateSettings


class RuleReward(Settings):
    """1 for the target, 0 otherwise."""

    type: Literal["rule"] = "rule"
    weight: float = 1.0


class RankingReward(Settings):
    """-1/log2(rank+1) over the group's sum, for negatives; only in groups with a hit."""

    type: Literal["ranking"] = "ranking"
    weight: float = 1.0


class SemanticReward(Settings):
    """Cosine of the candidate's and the target's title vectors, negative ones as 0 (ReRe's semantic reward)."""

    type: Literal["semantic"] = "semantic"
    weight: float = 1.0
    embedding: Embedding = TitleEmbedding()


class CollaborativeReward(Settings):
    """The teacher's probability of the candidate within its group (ReRe's collaborative reward), or its logarithm."""

    type: Literal["collaborative"] = "collaborative"
    weight: float = 1.0
    scale: Literal["share", "log"] = "share"


class CustomReward(Settings):
    """A function of your own, by import path: takes a `rere.training.rl.rewards.Group`, returns (P, G) rewards."""

    type: Literal["custom"] = "custom"
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="package.module:function")
    weight: float = 1.0


Reward = Annotated[
    RuleReward | RankingReward | SemanticReward | CollaborativeReward | CustomReward, Field(discriminator="type")
]


class RLConfig(InProcesses, UpdateSettings):
    """ReRe's reinforcement learning; names are TRL's where TRL has one."""

    renamed: ClassVar[dict[str, str]] = {
        **UpdateSettings.renamed,
        "group": "num_generations",
        "kl": "beta",
        "reference_sync_updates": "ref_model_sync_steps",
        "reference_mixup": "ref_model_mixup_alpha",
    }

    num_generations: int = Field(default=16, ge=2, description="candidates per prompt, G")
    generation: Literal["constrained", "unconstrained"] = Field(
        default="constrained", description="unconstrained: whatever the model writes, items or not (needs code: title)"
    )
    sampling: Sampling = Beam()
    normalisation: Normalisation = Field(
        default="trie", description="log-probabilities over the vocabulary (the paper) or over allowed children"
    )
    rewards: tuple[Reward, ...] = Field(default=(RuleReward(), CollaborativeReward(scale="log")), min_length=1)
    ground_truth: Literal["off", "add"] = Field(
        default="add", description="add: a group that misses the target gets it in place of its last candidate"
    )
    loss: Literal["grpo", "dapo", "gspo", "mpo"] = Field(
        default="mpo",
        description="mpo: cross-entropy of the group's softmax to reference policy times exp(reward)",
    )
    advantage: Literal["group_std", "none"] = Field(
        default="group_std", description="group_std: divided by the group's deviation; none: only its mean is removed"
    )
    beta: float = Field(default=1e-3, ge=0, description="weight of the k3 KL to the reference")
    ref_model_sync_steps: int = Field(default=512, ge=1)
    ref_model_mixup_alpha: float = Field(default=0.6, ge=0, le=1, description="share of the policy at a sync")
    learning_rate: PositiveFloat = 1e-3
    updates: PositiveInt | None = 1000
    epochs: PositiveInt = 2
    keep: Literal["best", "last"] = Field(default="best", description="by validation NDCG@10; the start counts too")

    @property
    def asks_teacher(self) -> bool:
        """Whether an item model is needed."""
        return any(reward.type == "collaborative" for reward in self.rewards)

    @model_validator(mode="after")
    def _unconstrained_is_plain(self) -> RLConfig:
        taken_for_items = (self.normalisation == "trie", self.ground_truth == "add", self.sampling.type == "dynamic")
        if self.generation == "unconstrained" and any(taken_for_items):
            raise ValueError(
                "unconstrained generation goes with normalisation: vocab, ground_truth: off, and beam or multinomial "
                "sampling: the others take what is generated for items"
            )
        if self.generation == "unconstrained" and self.prefill.type != "window":
            raise ValueError("unconstrained generation goes with prefill: {type: window}: stock `generate` runs it")
        return self
