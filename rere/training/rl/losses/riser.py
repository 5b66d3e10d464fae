"""RISER: GRPO where the policy generated the target; pairs of the target and each candidate where it didn't."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from torch.nn.functional import softplus

from rere.training.rl.losses.base import Loss, LossInputs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class RISER(Loss):
    """Mean over prompts: less GRPO's objective of a group with a hit; `weight` times SimPO's loss of one without.

    With s = mean of log policy over an item's tokens, 0 the target, j the other candidates:

        SimPO = mean over j of -log sigmoid(pair_beta (s_0 - s_j) - margin)

    After RISER (arXiv 2602.00632): a group without a hit has no advantage to learn from, so its candidates become what
    the target is preferred to, by SimPO (arXiv 2405.14734), which needs no reference. Written from the paper's abstract
    and others' summaries of it, so no replica. Its other two parts are settings of their own here: rollouts that don't
    repeat (`sampling: beam`, or `dynamic` with `target_copies: one`), and tokens without an alternative, which
    `normalisation: trie` leaves out.
    Its choice of tokens for the KL penalty is left out: all of a group with a hit have it.

    The target must be scored: `ground_truth: add`, by which it stands in the place of the last candidate, so that a
    group without a hit has one pair fewer than it has candidates.
    """

    needs_target: ClassVar[bool] = True

    type: Literal["riser"] = "riser"
    weight: float = Field(default=1.0, gt=0, description="of the pairs beside GRPO's objective")
    pair_beta: float = Field(default=2.0, gt=0, description="SimPO's beta: factor of the difference of mean log-probs")
    margin: float = Field(default=0.5, ge=0, description="SimPO's gamma: by which the target must win")

    def __call__(self, given: LossInputs) -> Float[Tensor, ""]:
        means = (given.policy * given.mask).sum(2) / given.lengths
        target, others = given.hits, given.valid & ~given.hits
        of_target = (means * target).sum(1, keepdim=True) / target.sum(1, keepdim=True).clamp(min=1)
        pairs = softplus(self.margin - self.pair_beta * (of_target - means)) * others
        preference = self.weight * pairs.sum(1) / others.sum(1).clamp(min=1)
        rows = given.reached * -self.group_objective(given) + ~given.reached * preference
        return rows.sum() / max(given.counts.prompts, 1)
