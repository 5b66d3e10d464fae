"""Negatives that a prompt takes over from the other prompts of its micro-batch.

NAPO (arXiv 2508.09653) shares the negatives of similar users. It takes over their log-probabilities, which are under
the other user's prompt; here they are branches of the prompt's own token tree, so that they cost their nodes and are
scored where they are compared.

Axes: P prompts of this process, B prompts of the whole micro-batch (which several processes may share), G negatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def shared_negatives(
    candidates: Int[Tensor, "P 1+G"],
    vectors: Float[Tensor, "P width"],
    negatives: Int[Tensor, "B G"],
    their_vectors: Float[Tensor, "B width"],
    *,
    first: int,
    share: float,
) -> Int[Tensor, "P more"]:
    """The negatives of the users most like a prompt's, -1 where one is the target, or is there already.

    Args:
        candidates: (P, 1 + G) the prompts' targets and own negatives.
        vectors: (P, width) of the prompts; the more alike, the larger the product.
        negatives, their_vectors: (B, G), (B, width) of the whole micro-batch.
        first: this process's prompts are `first` and following of the micro-batch.
        share: of the B - 1 other prompts, rounded down.

    Returns:
        (P, kept · G) item indices, the most similar user's first.
    """
    own = torch.arange(first, first + len(candidates), device=candidates.device)
    alike = vectors @ their_vectors.T
    alike[torch.arange(len(own), device=own.device), own] = -torch.inf
    kept = alike.argsort(dim=1, descending=True, stable=True)[:, : int(share * (len(negatives) - 1))]
    more = negatives[kept].flatten(1)
    every = torch.cat([candidates, more], 1)
    repeated = (every[:, :, None] == every[:, None, :]).tril(-1).any(2)[:, candidates.shape[1] :]
    return more.masked_fill(repeated, -1)
