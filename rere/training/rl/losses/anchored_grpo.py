"""Anchored GRPO: cross-entropy on the label always; rewards where the policy errs and they tell the label apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rere.training.rl.losses.base import Loss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class AnchoredGRPO(Loss):
    """Mean over prompts of -log policy(target) - weight · admitted · GRPO's objective of the prompt's group.

    After the idea of AdaGRPO (arXiv 2606.08480): supervised training is the anchor, and a row's rewards are admitted,
    wholly or not at all, by two diagnostics of its rollout. The diagnostics are this project's own, not the paper's: a
    row is admitted if it is hard for the policy (at least `outranked_by` candidates are likelier than the target) and
    the reward tells its target apart (more than `margin` above the mean of the other candidates). The record has the
    share of admitted prompts.

    The target must be among the candidates: `ground_truth: add`. A reward that is 1 for the target admits every hard
    row; the second diagnostic is for a teacher's reward.
    """

    needs_target: ClassVar[bool] = True

    type: Literal["anchored_grpo"] = "anchored_grpo"
    weight: float = Field(default=1.0, gt=0, description="of GRPO's objective beside the cross-entropy")
    outranked_by: int = Field(default=1, ge=0, description="candidates likelier than the target, at least")
    margin: float = Field(default=0.0, description="of the target's reward over the others' mean, more than this")

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        target = _first(given.hits)
        anchor = -((given.policy * given.mask).sum(2) * target).sum(1)
        rows = anchor - self.weight * self.admitted(given) * self.group_objective(given)
        return rows.sum() / max(given.counts.prompts, 1)

    def admitted(self, given: LossInputs) -> Bool[Tensor, " P"]:
        """(P,) whether each prompt's rewards count."""
        target, others = _first(given.hits), given.valid & ~given.hits
        score = (given.policy.detach() * given.mask).sum(2)
        likelier = (others & (score > (score * target).sum(1, keepdim=True))).sum(1)
        mean = (given.reward * others).sum(1) / others.sum(1).clamp(min=1)
        return (likelier >= self.outranked_by) & ((given.reward * target).sum(1) - mean > self.margin)

    def counted(self, given: LossInputs) -> dict[str, float]:
        """`admitted`."""
        return {"admitted": float(self.admitted(given).sum())}


def _first(hits: Bool[Tensor, "P G"]) -> Bool[Tensor, "P G"]:
    """The first of a group's copies of its target."""
    return hits & (hits.cumsum(1) == 1)
