"""Token-tree log-probabilities and gradients against one plain forward per candidate, in float64."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from rere.catalog.trie import build_trie
from rere.config.decoding import Normalisation
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from tests.decoding.test_beam import ARCHITECTURES, random_items, random_prompts, tiny_model
from tests.oracles import assert_same_gradients, gradients_of, item_log_probs


def plain(
    model: PreTrainedModel,
    items: list[list[int]],
    prompts: list[list[int]],
    groups: torch.Tensor,
    normalisation: Normalisation,
) -> torch.Tensor:
    """Summed log-probability of each candidate, (P, G); a candidate's own forward each."""
    return torch.stack(
        [
            torch.stack([item_log_probs(model, items, item, prompt, normalisation).sum() for item in group])
            for prompt, group in zip(prompts, groups.tolist(), strict=True)
        ]
    )


@pytest.mark.parametrize("normalisation", ["vocab", "trie"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_probs_and_gradients_equal_the_plain_ones(
    architecture: str, normalisation: Normalisation, checkpointing: bool
) -> None:
    generator = torch.Generator().manual_seed(4)
    model = tiny_model(architecture).double()
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    items, prompts = random_items(50, generator), random_prompts(5, generator)
    trie = build_trie(items)
    groups = torch.stack([torch.randperm(len(items), generator=generator)[:6] for _ in prompts])
    weights = torch.randn(groups.shape, generator=generator, dtype=torch.float64)

    expected = plain(model, items, prompts, groups, normalisation)
    (expected * weights).sum().backward()
    gradients = gradients_of(model)
    model.zero_grad()
    scorer = TreeLogProbs(TreeModel(model))
    tree = group_tree(trie, prompts, groups, normalisation, torch.float64)
    found = scorer(tree).sum(2)
    (found * weights).sum().backward()

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert_same_gradients(gradients_of(model), gradients)


def test_fewer_tokens_run_than_in_the_plain_way() -> None:
    generator = torch.Generator().manual_seed(4)
    items, prompts = random_items(50, generator), [[5] * 20]
    groups = torch.arange(16)[None]
    tree = group_tree(build_trie(items), prompts, groups, "vocab", torch.float32)
    prefixes = {tuple(items[n][: length + 1]) for n in range(16) for length in range(len(items[n]) - 1)}
    assert len(tree.tokens) == 20 + len(prefixes)  # every distinct beginning once; ends are predicted, not run


def test_mask_counts_decisions_under_trie_and_tokens_under_vocab() -> None:
    items = [[4, 5, 2], [4, 6, 2], [7, 8, 9, 2]]
    groups = torch.tensor([[0, 2, -1]])
    trie = build_trie(items)
    vocab = group_tree(trie, [[3]], groups, "vocab", torch.float32)
    assert vocab.mask.sum(2).tolist() == [[3, 4, 0]]
    forced = group_tree(trie, [[3]], groups, "trie", torch.float32)
    assert forced.mask.tolist()[0][0][:3] == [True, True, False]  # 4 or 7, 5 or 6; then certain
    assert forced.mask.sum(2).tolist() == [[2, 1, 0]]
    assert len(forced.tokens) == 2  # the prompt and the 4


def test_short_groups_and_single_item_catalogues() -> None:
    model = TreeModel(tiny_model("llama"))
    trie = build_trie([[5, 6, 2]])
    for normalisation in ("vocab", "trie"):
        tree = group_tree(trie, [[3, 4], [9]], torch.tensor([[0, -1], [0, -1]]), normalisation, torch.float32)
        out = TreeLogProbs(model)(tree)
        assert out.shape == (2, 2, 3)
        assert (out[:, 1] == 0).all()
        assert (out[:, 0] < 0).all() == (normalisation == "vocab")
