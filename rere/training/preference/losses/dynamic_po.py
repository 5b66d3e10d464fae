"""DynamicPO: S-DPO against the negatives near the decision boundary, each with a factor of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import softplus

from rere.training.preference.losses.base import PreferenceInputs, PreferenceLoss

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class DynamicPO(PreferenceLoss):
    """-log sigmoid(-log sum over boundary j of exp(beta_j (r_j - r_0))), r as in S-DPO (arXiv 2605.00327).

    Boundary negatives, with s = log policy and 0 the target: all j with s_j >= s_0; if there are none, the highest of
    three clusters (k-means) of the negatives' s. The others are told apart already, and would only drown the gradient.
    With d1 = s_0 - s_j and d2 = s_j - the mean s of the others (of the boundary, if all are in it):

        beta_j = beta (1 + tanh((d1 - d2 - margin) / (|d1| + |d2|)) / 2)

    The clusters are the best ones, found by trying all cuts, where the paper's code iterates from random centres.
    """

    type: Literal["dynamic_po"] = "dynamic_po"
    margin: float = Field(default=6.0, description="nats; the larger, the smaller beta_j")

    def __call__(self, given: PreferenceInputs) -> Float[Tensor, " P"]:
        with torch.no_grad():
            boundary = self.boundary(given)
            beta = self.betas(given, boundary)
        return softplus(torch.logsumexp((beta * given.over_target).masked_fill(~boundary, -torch.inf), 1))

    def boundary(self, given: PreferenceInputs) -> Bool[Tensor, "P G"]:
        """(P, G) the negatives that are compared with the target; at least one of each prompt."""
        scores = given.negatives_only(given.policy[:, 1:])
        chosen = scores >= given.policy[:, :1]
        for row in (~chosen.any(1)).nonzero()[:, 0].tolist():
            own = scores[row][given.valid[row, 1:]].detach()
            chosen[row] = scores[row] >= top_cluster(own.double().cpu().numpy())
        return chosen

    def betas(self, given: PreferenceInputs, boundary: Bool[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        """(P, G) each negative's factor."""
        target, scores, valid = given.policy[:, :1], given.policy[:, 1:], given.valid[:, 1:]
        others = valid & ~boundary
        others = torch.where(others.any(1, keepdim=True), others, boundary)
        mean = (scores * others).sum(1, keepdim=True) / others.sum(1, keepdim=True)
        to_target, to_others = target - scores, scores - mean
        size = (to_target.abs() + to_others.abs()).clamp(min=1e-8)
        return given.beta * (1 + torch.tanh((to_target - to_others - self.margin) / size) / 2)


def top_cluster(values: np.ndarray) -> float:
    """The least value of the highest of (at most) three clusters, those with the least squared distance to their means.

    Args:
        values: (N,) at least one.
    """
    ordered = np.sort(values)[::-1]
    count = len(ordered)
    if count <= 2:
        return float(ordered[0])
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(ordered**2)])

    def spread(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Squared distance to their mean of the values begin to end, of each pair."""
        found: np.ndarray = squares[end] - squares[begin] - (sums[end] - sums[begin]) ** 2 / (end - begin)
        return found

    first, second = np.triu_indices(count - 1, 1)  # pairs of cuts, each after that many values
    first, second = first + 1, second + 1
    nothing, all_of_them = np.zeros_like(first), np.full_like(first, count)
    total = spread(nothing, first) + spread(first, second) + spread(second, all_of_them)
    return float(ordered[first[np.argmin(total)] - 1])
