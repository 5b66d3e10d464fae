"""Log-probabilities of the trie's edges: the one place where the language-model head is evaluated.

vocab  log softmax over the whole vocabulary, read at the edge's token (the paper's)
trie   log softmax over the tokens of a row's edges only: a proper distribution over the catalogue when
       the edges are all children of a trie node
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import log_softmax
from torch.utils.checkpoint import checkpoint

from rere.config.decoding import Normalisation
from rere.models.heads import Head, precise
from rere.models.ragged import ragged_log_softmax

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

LOGITS_AT_ONCE = 1 << 24  # 64 MiB of float32


def child_log_probs(
    head: Head,
    hidden: Float[Tensor, "R width"],
    edge_tokens: Int[Tensor, " E"],
    edge_counts: Int[Tensor, " R"],
    normalisation: Normalisation,
) -> Float[Tensor, " E"]:
    """Log-probability of every edge, float32 (float64 for a float64 model).

    Args:
        hidden: (R, width) hidden state that each row's edges continue.
        edge_tokens: (E,) tokens, row after row.
        edge_counts: (R,) edges per row; sums to E.

    Returns:
        (E,) natural-log probabilities.
    """
    rows_at_once = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    if len(hidden) <= rows_at_once:
        return _edges(head, hidden, edge_tokens, edge_counts, normalisation)
    sizes = [int(counts.sum()) for counts in edge_counts.split(rows_at_once)]
    chunks = zip(hidden.split(rows_at_once), edge_tokens.split(sizes), edge_counts.split(rows_at_once), strict=True)
    if torch.is_grad_enabled() and hidden.requires_grad:  # the backward computes each chunk's logits again: less memory
        parts = [checkpoint(_edges, head, *chunk, normalisation, use_reentrant=False) for chunk in chunks]
    else:
        parts = [_edges(head, *chunk, normalisation) for chunk in chunks]
    return torch.cat(parts)


def shared_child_log_probs(
    head: Head, hidden: Float[Tensor, "R width"], tokens: Int[Tensor, " E"], normalisation: Normalisation
) -> Float[Tensor, "R E"]:
    """`child_log_probs` where all rows continue with the same tokens (E,): (R, E), for inference."""
    parts = []
    for part in hidden.split(max(1, LOGITS_AT_ONCE // head.weight.shape[0])):
        logits = precise(head(part))
        if normalisation == "vocab":
            parts.append(log_softmax(logits, dim=-1).index_select(1, tokens))
        else:
            parts.append(log_softmax(logits.index_select(1, tokens), dim=-1))
    return torch.cat(parts)


def _edges(
    head: Head,
    hidden: Float[Tensor, "R width"],
    tokens: Int[Tensor, " E"],
    counts: Int[Tensor, " R"],
    normalisation: Normalisation,
) -> Float[Tensor, " E"]:
    logits = precise(head(hidden))
    row = torch.repeat_interleave(counts)
    if normalisation == "vocab":  # one pass over the vocabulary; `logsumexp` takes four
        return log_softmax(logits, dim=-1)[row, tokens]
    return ragged_log_softmax(logits[row, tokens], row, len(logits))
