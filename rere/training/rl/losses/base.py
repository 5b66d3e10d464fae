"""The inputs of a policy loss. A loss is one file here and one line in the registry.

Axes: P prompts, G candidates per prompt, L tokens of a candidate.

The first step of a rollout is on the policy that made it: every ratio is 1 in value and carries the gradient, and
clipping doesn't bind. Further steps (`num_iterations`) have `old`, the first's log-probabilities, and losses that clip.

A loss is a sum over this process's prompts, divided by `counts` of the whole micro-batch: the losses of processes that
share a micro-batch add up to that of one process.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from rere.config.rl import LossSettings

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """The divisors of a micro-batch's means: its prompts, its sequences with a token that counts, and such tokens."""

    prompts: int = 0
    sequences: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, mask: Bool[Tensor, "P G L"]) -> Counts:
        """Counts of a (P, G, L) mask."""
        return cls(len(mask), int(mask.any(2).sum()), int(mask.sum()))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.prompts + other.prompts, self.sequences + other.sequences, self.tokens + other.tokens)


@dataclass(frozen=True)
class LossInputs:
    """The candidates of P prompts, scored and rewarded.

    policy, reference: (P, G, L) float log-probabilities per token (nats)
    mask: (P, G, L) bool, tokens that count
    nodes: (P, G, L) int64, number of each token's node in the prompt's token tree: candidates that share a prefix share
        its nodes; means nothing outside the mask
    hits: (P, G) bool, the candidate is the target
    reached: (P,) bool, the policy generated the target itself: it wasn't added afterwards
    reward, advantages: (P, G) float
    valid: (P, G) bool, False where there is no candidate
    counts: of the whole micro-batch, which several processes may share
    beta: weight of the KL penalty
    old: (P, G, L) float log-probabilities at the rollout's first step; None in that step
    """

    policy: Float[Tensor, "P G L"]
    reference: Float[Tensor, "P G L"]
    mask: Bool[Tensor, "P G L"]
    nodes: Int[Tensor, "P G L"]
    hits: Bool[Tensor, "P G"]
    reached: Bool[Tensor, " P"]
    reward: Float[Tensor, "P G"]
    advantages: Float[Tensor, "P G"]
    valid: Bool[Tensor, "P G"]
    counts: Counts
    beta: float = 0.0
    old: Float[Tensor, "P G L"] | None = None

    @cached_property
    def log_ratio(self) -> Float[Tensor, "P G L"]:
        """(P, G, L) log of the policy's probability over that at the rollout."""
        return self.policy - (self.policy.detach() if self.old is None else self.old)

    @cached_property
    def divergence(self) -> Float[Tensor, "P G L"]:
        """(P, G, L) KL(policy || reference) per token by `k3` (nats); 0 outside the mask."""
        return k3(self.policy, self.reference) * self.mask

    @cached_property
    def penalty(self) -> Float[Tensor, "P G L"]:
        """(P, G, L) beta times the divergence."""
        return self.beta * self.divergence

    @cached_property
    def lengths(self) -> Int[Tensor, "P G"]:
        """(P, G) tokens that count, at least 1: a divisor."""
        return self.mask.sum(2).clamp(min=1)


class Loss(LossSettings):
    """Settings of a policy loss, and the loss itself."""

    @abstractmethod
    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        """The scalar to minimise."""

    def counted(self, given: LossInputs) -> dict[str, float]:
        """Prompts that the loss treats in a way of its own, by a name under which the record has their share."""
        return {}

    def gain(
        self, given: LossInputs, ratio: Float[Tensor, "P G ..."], advantages: Float[Tensor, "P G ..."]
    ) -> Float[Tensor, "P G ..."]:
        """Ratio times advantage."""
        return ratio * advantages

    def token_objective(self, given: LossInputs) -> Float[Tensor, "P G L"]:
        """(P, G, L) gain of each token's ratio, less the penalty; 0 outside the mask."""
        gain = self.gain(given, torch.exp(given.log_ratio), given.advantages[:, :, None])
        return (gain - given.penalty) * given.mask

    def sequence_objective(self, given: LossInputs) -> Float[Tensor, "P G"]:
        """(P, G) mean token objective of each candidate."""
        return self.token_objective(given).sum(2) / given.lengths

    def group_objective(self, given: LossInputs) -> Float[Tensor, " P"]:
        """(P,) GRPO's objective of each prompt's group: the mean over its candidates with a token that counts."""
        return self.sequence_objective(given).sum(1) / given.mask.any(2).sum(1).clamp(min=1)


class ClippedLoss(Loss):
    """A loss whose ratio to the rollout's policy is clipped, so that a rollout may have several steps.

    A gain is min(ratio · advantage, clip(ratio, 1 - epsilon, 1 + epsilon_high) · advantage): beyond the bound on the
    advantage's side nothing is gained, and there is no gradient.
    """

    clips: ClassVar[bool] = True

    epsilon: float = Field(
        default=0.2, gt=0, lt=1, description="how far below 1 the ratio to the rollout's policy counts"
    )
    epsilon_high: float = Field(default=0.2, gt=0, description="how far above 1")

    def gain(
        self, given: LossInputs, ratio: Float[Tensor, "P G ..."], advantages: Float[Tensor, "P G ..."]
    ) -> Float[Tensor, "P G ..."]:
        """Ratio times advantage, clipped in the steps after a rollout's first."""
        free = super().gain(given, ratio, advantages)
        if given.old is None:
            return free
        return torch.minimum(free, ratio.clamp(1 - self.epsilon, 1 + self.epsilon_high) * advantages)


def k3(policy: Float[Tensor, " ..."], reference: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """Schulman's k3 estimator of KL(policy || reference) per token: exp(d) - d - 1, d = reference - policy."""
    difference = reference - policy
    return torch.exp(difference) - difference - 1
