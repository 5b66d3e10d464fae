"""Reasonings: text that a model writes after its prompt, and what is read from one forward over it.

Writing is stock `generate`. Reading is one token tree per prompt: its G reasonings are branches, each with the closing
after it, so that the prompt is run once. The closing's last token has the hidden state that the recommendation head
reads.

Axes: P prompts, G reasonings per prompt, L tokens of the longest one with its closing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch

from rere.catalog.trie import build_trie
from rere.decoding.unconstrained import generated_lengths, padded_left
from rere.models.child_log_probs import child_log_probs
from rere.models.recommendation_head import Writing
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import GroupTree, group_tree

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

Reasonings = list[list[list[int]]]  # P lists of G token lists, with the end token where one was written


@torch.no_grad()
def write(
    model: TreeModel, prompts: Sequence[Sequence[int]], writing: Writing, *, group: int = 1, seed: int | None = None
) -> Reasonings:
    """G reasonings for each prompt. The model must be in evaluation mode.

    Args:
        prompts: P token sequences, without the cue.
        seed: of draws at temperature 1 over the whole vocabulary; None: the likeliest token each time, G is 1. The
            global random state is left as it was.

    Raises:
        RereError: a prompt with all that comes after it is longer than the model's context.
    """
    if not writing.tokens:
        return [[[] for _ in range(group)] for _ in prompts]
    cued = [[*prompt, *writing.cue] for prompt in prompts]
    model.require_room(max(map(len, prompts)) + writing.room)
    padded, real = padded_left(cued, writing.end, model.device)
    generate = cast(Callable[..., torch.Tensor], model.model.generate)
    with torch.random.fork_rng():
        torch.manual_seed(0 if seed is None else seed)
        out = generate(
            input_ids=padded,
            attention_mask=real,
            max_new_tokens=writing.tokens,
            eos_token_id=writing.end,
            pad_token_id=writing.end,
            num_return_sequences=group,
            num_beams=1,
            **({"do_sample": False} if seed is None else {"do_sample": True, "top_k": 0, "top_p": 1.0}),
        )
    written = out[:, padded.shape[1] :]
    lengths = generated_lengths(written, writing.end).tolist()
    texts = [row[:length] for row, length in zip(written.tolist(), lengths, strict=True)]
    return [texts[first : first + group] for first in range(0, len(texts), group)]


@dataclass(frozen=True)
class ReasoningTree:
    """P prompts with G reasonings each, ready to be read by any weights of one model.

    tree: with a token after each closing that is never run, so that the closing is
    written: (P, G, L) bool, the reasonings' own tokens
    end_at: (P, G) index of each closing's last token among the rows of hidden states
    """

    tree: GroupTree
    written: Bool[Tensor, "P G L"]
    end_at: Int[Tensor, "P G"]


def reasoning_tree(
    model: TreeModel, prompts: Sequence[Sequence[int]], reasonings: Reasonings, writing: Writing
) -> ReasoningTree:
    """Merge each prompt's reasonings into their prefix tree."""
    vocabulary = model.head.weight.shape[0]  # no token has this number, so no sequence begins another
    index_of: dict[tuple[int, ...], int] = {}
    sequences = [[(*own, *writing.closing, vocabulary) for own in group] for group in reasonings]
    number = [[index_of.setdefault(own, len(index_of)) for own in group] for group in sequences]
    trie = build_trie(list(index_of)).to(model.device)
    cued = [[*prompt, *writing.cue] for prompt in prompts]
    tree = group_tree(trie, cued, torch.tensor(number, device=model.device), "vocab", model.dtype)
    lengths = torch.tensor([[len(own) for own in group] for group in reasonings], device=model.device)
    last = lengths[:, :, None] + len(writing.closing)  # the place of the token that is never run
    row_of = torch.repeat_interleave(tree.edge_counts)  # the hidden state that each edge continues
    end_at = row_of[tree.edge_picked[tree.path.gather(2, last)[:, :, 0]]]
    written = torch.arange(tree.mask.shape[2], device=model.device) < lengths[:, :, None]
    return ReasoningTree(replace(tree, edge_tokens=tree.edge_tokens.clamp(max=vocabulary - 1)), written, end_at)


def read(model: TreeModel, given: ReasoningTree) -> tuple[Float[Tensor, "P G L"], Float[Tensor, "P G width"]]:
    """(P, G, L) log-probability (nats) of each token written, 0 elsewhere; (P, G, width) states after the closings."""
    tree = given.tree
    hidden = model.hidden(tree.tokens, tree.positions, tree.packed_batch)[tree.hidden_at]
    edges = child_log_probs(model.head, hidden, tree.edge_tokens, tree.edge_counts, "vocab")
    return torch.where(given.written, edges[tree.edge_picked][tree.path], 0.0), hidden[given.end_at]
