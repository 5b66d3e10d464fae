"""Token-tree scoring under DDP (two gloo processes), LoRA and bfloat16."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from peft import LoraConfig, get_peft_model
from torch.nn.parallel import DistributedDataParallel

from infra.patience import until
from rere.catalog.trie import TokenTrie, build_trie
from rere.models.tree_attention import TreeModel
from rere.models.tree_log_probs import TreeLogProbs, group_tree
from tests.decoding.test_beam import random_items, random_prompts, tiny_model

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


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


def process(rank: int, place: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK  # whatever the machine's name resolves to
    meet = f"file://{place}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    trie, prompts, groups, weights = problem()
    model = tiny_model("qwen2")
    scorer = DistributedDataParallel(TreeLogProbs(TreeModel(model)))
    half = slice(2 * rank, 2 * rank + 2)
    loss(scorer, trie, prompts[half], groups[half], weights[half]).backward()
    if rank == 0:
        torch.save({name: weight.grad for name, weight in model.named_parameters()}, f"{place}/gradients.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    processes = mp.spawn(process, args=(str(tmp_path),), nprocs=2, join=False)
    try:
        until(lambda: processes.join(timeout=1), "two processes")
    finally:
        for each in processes.processes:
            each.kill()
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    model = tiny_model("qwen2")
    loss(TreeLogProbs(TreeModel(model)), *problem()).backward()
    for name, weight in model.named_parameters():
        expected = weight.grad / 2  # type: ignore[operator]  # DDP averages over processes what one process sums
        assert (found[name] - expected).abs().max() <= 1e-5 * expected.abs().max(), name  # type: ignore[union-attr]


def test_lora_gradients_equal_those_of_the_plain_forward() -> None:
    trie, prompts, groups, weights = problem()
    model = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    loss(TreeLogProbs(TreeModel(model)), trie, prompts, groups, weights).backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}  # type: ignore[union-attr]
    model.zero_grad()
    for prompt, group, weight in zip(prompts, groups.tolist(), weights, strict=True):
        for item, factor in zip(group, weight, strict=True):
            tokens = trie.item(item)
            logits = model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
            log_probs = torch.log_softmax(logits, -1)[torch.arange(len(tokens)), torch.tensor(tokens)]
            (log_probs.sum() * factor).backward()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert (found[name] - weight.grad).abs().max() <= 1e-4 * weight.grad.abs().max(), name  # type: ignore[operator, union-attr]


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
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())  # type: ignore[arg-type]
