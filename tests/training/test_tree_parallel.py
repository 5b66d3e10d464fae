"""Token-tree scoring under DDP (two gloo processes), LoRA and bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.parallel import DistributedDataParallel

from rere.catalog.trie import TokenTrie, build_trie
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from rere.runtime import distributed
from rere.runtime.launch import Log
from rere.runtime.launchers.local import LocalLauncher
from tests.decoding.test_beam import random_items, random_prompts, tiny_model
from tests.oracles import assert_same_gradients, gradients_of


def problem() -> tuple[TokenTrie, list[list[int]], torch.Tensor, torch.Tensor]:
    """Items, prompts, groups and weights of a loss; the same in every process."""
    generator = torch.Generator().manual_seed(4)
    items, prompts = random_items(50, generator), random_prompts(4, generator)
    groups = torch.stack([torch.randperm(len(items), generator=generator)[:6] for _ in prompts])
    return build_trie(items), prompts, groups, torch.randn(groups.shape, generator=generator)


def loss(
    scorer: torch.nn.Module,
    trie: TokenTrie,
    prompts: list[list[int]],
    groups: torch.Tensor,
    weights: torch.Tensor,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    return (scorer(group_tree(trie, prompts, groups, "vocab", dtype)).sum(2) * weights).sum()


def gradients(spec: dict[str, Any], log: Log) -> None:
    """One of two processes: half of the prompts each."""
    torch.set_num_threads(1)
    trie, prompts, groups, weights = problem()
    model = tiny_model("qwen2")
    scorer = DistributedDataParallel(TreeLogProbs(TreeModel(model)))
    half = slice(2 * distributed.rank(), 2 * distributed.rank() + 2)
    loss(scorer, trie, prompts[half], groups[half], weights[half]).backward()
    if distributed.is_main():
        torch.save({name: weight.grad for name, weight in model.named_parameters()}, spec["gradients"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="its models are on the CPU, where NCCL has no reduction")
def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    spec = {"gradients": str(tmp_path / "gradients.pt")}
    LocalLauncher(processes=2).launch("tests.training.test_tree_parallel:gradients", spec, tmp_path / "work")
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    model = tiny_model("qwen2")
    loss(TreeLogProbs(TreeModel(model)), *problem()).backward()
    # DDP averages over processes what one process sums.
    assert_same_gradients(found, {name: gradient / 2 for name, gradient in gradients_of(model).items()})


def test_lora_gradients_equal_those_of_the_plain_forward() -> None:
    trie, prompts, groups, weights = problem()
    model = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    loss(TreeLogProbs(TreeModel(model)), trie, prompts, groups, weights).backward()
    found = gradients_of(model)
    model.zero_grad()
    for prompt, group, weight in zip(prompts, groups.tolist(), weights, strict=True):
        for item, factor in zip(group, weight, strict=True):
            tokens = trie.item(item)
            logits = model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
            log_probs = torch.log_softmax(logits, -1)[torch.arange(len(tokens)), torch.tensor(tokens)]
            (log_probs.sum() * factor).backward()
    assert_same_gradients(found, gradients_of(model), tolerance=1e-4)


def test_bfloat16_is_near_float32() -> None:
    trie, prompts, groups, _ = problem()
    model = tiny_model("qwen2")
    scorer = TreeLogProbs(TreeModel(model))
    tree = group_tree(trie, prompts, groups, "vocab", torch.float32)
    exact = scorer(tree)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = scorer(tree)
    rough.sum().backward()
    assert rough.dtype == torch.float32  # probabilities are never summed in bfloat16
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.05)
    assert all(torch.isfinite(gradient).all() for gradient in gradients_of(model).values())
