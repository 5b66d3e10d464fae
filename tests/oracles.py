"""Slow, obvious versions of what the library does fast. Tests compare the two."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel


def stock_beam_search(
    model: PreTrainedModel,
    items: Sequence[Sequence[int]],
    prompt: Sequence[int],
    beams: int,
    normalisation: str,
) -> list[tuple[int, float]]:
    """(item index, score) of stock `generate` under a prefix constraint, best first.

    Every item must end with the same token, which occurs nowhere else.
    """
    end = items[0][-1]
    allowed: dict[tuple[int, ...], list[int]] = {}
    for item in items:
        for n in range(len(item)):
            allowed.setdefault(tuple(item[:n]), []).append(item[n])

    def continuations(_: int, tokens: torch.Tensor) -> list[int]:
        # A beam that `generate` fills up with junk (score -1e9) has no continuation: let it end.
        return allowed.get(tuple(tokens[len(prompt) :].tolist()), [end])

    out = model.generate(  # type: ignore[operator]
        torch.tensor([list(prompt)], device=model.device),
        attention_mask=torch.ones((1, len(prompt)), dtype=torch.int64, device=model.device),
        num_beams=beams,
        num_return_sequences=beams,
        do_sample=False,
        length_penalty=0.0,
        max_new_tokens=max(map(len, items)),
        prefix_allowed_tokens_fn=continuations,
        renormalize_logits=normalisation == "trie",
        eos_token_id=end,
        pad_token_id=end,
        return_dict_in_generate=True,
        output_scores=True,
    )
    place = {tuple(item): n for n, item in enumerate(items)}
    result = []
    for tokens, score in zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True):
        generated = tokens[len(prompt) :]
        key = tuple(generated[: generated.index(end) + 1]) if end in generated else ()
        if score > -1e8 and key in place:
            result.append((place[key], score))
    return result


@torch.no_grad()
def score_all_items(
    model: PreTrainedModel, items: Sequence[Sequence[int]], prompt: Sequence[int], normalisation: str
) -> torch.Tensor:
    """(I,) log-probability of every item, one plain forward each."""
    return torch.stack([item_log_probs(model, items, n, prompt, normalisation).sum() for n in range(len(items))])


def item_log_probs(
    model: PreTrainedModel,
    items: Sequence[Sequence[int]],
    item: int,
    prompt: Sequence[int],
    normalisation: str,
) -> torch.Tensor:
    """(length,) log-probability of each of one item's tokens, from one plain forward; differentiable."""
    tokens = list(items[item])
    logits = model(input_ids=torch.tensor([[*prompt, *tokens]], device=model.device)).logits[0, len(prompt) - 1 : -1]
    if normalisation == "trie":
        mask = torch.full_like(logits, -torch.inf)
        for n in range(len(tokens)):
            mask[n, [other[n] for other in items if list(other[:n]) == tokens[:n] and len(other) > n]] = 0
        logits = logits + mask
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens, device=model.device)[:, None])[:, 0]


def all_sequences(alphabet: Sequence[int], lengths: Sequence[int], end: int) -> list[list[int]]:
    """Every sequence of the given lengths over an alphabet, each closed by an end token."""
    return [[*tokens, end] for length in lengths for tokens in itertools.product(alphabet, repeat=length)]


def best_allowed(scores: torch.Tensor, excluded: Iterable[int], k: int) -> list[int]:
    """The k best items by score (I,), the excluded ones struck out; fewer where fewer are left."""
    barred = set(excluded)
    return [item for item in scores.argsort(descending=True).tolist() if item not in barred][:k]


def gradients_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the gradient of each trained parameter, all of which must have one."""
    found: dict[str, torch.Tensor] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            found[name] = weight.grad.clone()
    return found


def assert_same_gradients(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], tolerance: float = 1e-5
) -> None:
    """Relative to each tensor's largest entry: the models' own norms work in float32 whatever the weights are."""
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= tolerance * gradient.abs().max(), name


def embedding_of(model: PreTrainedModel) -> torch.Tensor:
    """(vocabulary, width) rows of the input embedding."""
    return _weight(model.get_input_embeddings())


def head_of(model: PreTrainedModel) -> torch.Tensor:
    """(vocabulary, width) rows of the head; the embedding itself where they are tied."""
    return _weight(model.get_output_embeddings())


def _weight(layer: nn.Module) -> torch.Tensor:
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight
