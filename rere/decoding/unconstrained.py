"""Generation without the constraint, for the ablation: whatever the model generates, valid or not.

Stock `generate`, by beam search or by sampling. A candidate is a free token sequence that ends with the catalogue's end
token or at the length of the longest item; then it is looked up. Repeats and sequences that are no item stay in the
list: the ablation measures their share.

The distinct sequences of a batch form a trie of their own, which numbers candidates as the catalogue's trie numbers
items. So `rere.models.tree_log_probs.group_tree` scores them by one token tree per prompt, under `vocab`
normalisation (`trie` has no meaning without the constraint).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from rere.catalog.index import CatalogIndex
from rere.catalog.tokenization import end_token
from rere.catalog.trie import ROOT, TokenTrie, build_trie
from rere.config.decoding import Beam, Multinomial
from rere.errors import RereError
from rere.models.tree_attention import TreeModel

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


@dataclass(frozen=True)
class FreeGeneration:
    """The candidates that a model generated for P prompts, G each.

    candidates: (P, G) int64 index of each candidate in `trie`: best first from beams, in random order from draws
    items: (P, G) int64 item index in the catalogue, -1 for a sequence that is no item
    trie: over the distinct sequences of all prompts
    forwarded: tokens run, padding and repeated prompts included
    """

    candidates: Int[Tensor, "P G"]
    items: Int[Tensor, "P G"]
    trie: TokenTrie
    forwarded: int


def item_end(catalog: CatalogIndex) -> int:
    """The token that ends every item.

    Raises:
        RereError: items of this code have no end token, so a free sequence has no end.
    """
    if not catalog.config.code.ends:
        raise RereError(
            "items that end with an end token, to generate without the constraint",
            f"the code {catalog.config.code.type!r}",
            "index the catalogue with `code: title`, or generate with the constraint",
        )
    return end_token(catalog.tokenizer)


@torch.no_grad()
def generate_freely(
    model: TreeModel,
    trie: TokenTrie,
    end: int,
    prompts: Sequence[Sequence[int]],
    group: int,
    *,
    sampling: Beam | Multinomial,
    seed: int,
) -> FreeGeneration:
    """Generate G candidates per prompt. The model must be in evaluation mode.

    Args:
        trie: the catalogue's, on the model's device.
        end: see `item_end`.
        prompts: P token sequences, of any lengths, each at least one long.
        group: G.
        sampling: beams are distinct sequences; draws are independent, at temperature 1 over the whole vocabulary.
        seed: of this call's draws; the global random state is left as it was.

    Raises:
        RereError: a prompt with the longest item after it is longer than the model's context.
    """
    longest = max(map(len, prompts))
    model.require_room(longest + trie.max_length)
    padded, real = padded_left(prompts, end, model.device)
    options: dict[str, Any]
    if isinstance(sampling, Beam):
        options = {"num_beams": group, "length_penalty": 0.0, "do_sample": False}
    else:
        options = {"num_beams": 1, "do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
    counter, generate = _Counter(), cast(Callable[..., torch.Tensor], model.model.generate)
    handle = model.model.get_input_embeddings().register_forward_hook(counter)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            out = generate(
                input_ids=padded,
                attention_mask=real,
                num_return_sequences=group,
                max_new_tokens=trie.max_length,
                eos_token_id=end,
                pad_token_id=end,
                **options,
            )
    finally:
        handle.remove()
    generated = out[:, longest:]  # (P · G, L)
    lengths = generated_lengths(generated, end)
    shape = (len(prompts), group)
    candidates, own = _distinct(generated, lengths)
    items = find_items(trie, generated, lengths)
    return FreeGeneration(candidates.view(shape), items.view(shape), own.to(model.device), counter.tokens)


def padded_left(
    prompts: Sequence[Sequence[int]], filler: int, device: torch.device
) -> tuple[Int[Tensor, "P S"], Int[Tensor, "P S"]]:
    """(P, S) prompts that end in the last column, where generation goes on, and (P, S) 1 for each real token."""
    longest = max(map(len, prompts))
    padded = torch.full((len(prompts), longest), filler, device=device)
    real = torch.zeros_like(padded)
    for row, prompt in enumerate(prompts):
        padded[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        real[row, longest - len(prompt) :] = 1
    return padded, real


def generated_lengths(generated: Int[Tensor, "sequences L"], end: int) -> Int[Tensor, " sequences"]:
    """Tokens of each sequence, the first end token counted; all L for one without."""
    ended = generated == end
    return torch.where(ended.any(1), ended.int().argmax(1) + 1, generated.shape[1])


def find_items(
    trie: TokenTrie, generated: Int[Tensor, "sequences L"], lengths: Int[Tensor, " sequences"]
) -> Int[Tensor, " sequences"]:
    """Index of the item that each sequence spells, -1 for none.

    Args:
        generated: tokens, of which the first `lengths` count.
    """
    base = int(max(trie.token.max(), generated.max())) + 1
    edges = trie.parent[1:] * base + trie.token[1:]  # ascending: breadth first, siblings by token
    node = torch.full_like(lengths, ROOT)
    for step in range(generated.shape[1]):
        wanted = node * base + generated[:, step]
        edge = torch.searchsorted(edges, wanted).clamp(max=len(edges) - 1)
        following = torch.where((edges[edge] == wanted) & (node >= 0), edge + 1, -1)
        node = torch.where(step < lengths, following, node)
    leaf = (node > ROOT) & (trie.child_count[node.clamp(min=0)] == 0)
    return torch.where(leaf, trie.leaf_item[trie.leaf_low[node.clamp(min=0)]], -1)


def _distinct(
    generated: Int[Tensor, "sequences L"], lengths: Int[Tensor, " sequences"]
) -> tuple[Int[Tensor, " sequences"], TokenTrie]:
    """Index of each sequence among the distinct ones, and their trie.

    No sequence is a prefix of another: it has its only end token last, or it is of full length.
    """
    index_of: dict[tuple[int, ...], int] = {}
    rows = zip(generated.tolist(), lengths.tolist(), strict=True)
    index = [index_of.setdefault(tuple(tokens[:length]), len(index_of)) for tokens, length in rows]
    return torch.tensor(index, device=generated.device), build_trie(list(index_of))


class _Counter:
    """A hook that counts the tokens a module is given."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.tokens += inputs[0].numel()
