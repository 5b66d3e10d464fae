"""RL's state: the frozen reference policy, the best weights, and checkpoints that survive a kill.

A checkpoint is safetensors and JSON: reading one runs no code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rere.artifacts.manifest import seal, verify

Weights = dict[str, torch.Tensor]
OPTIMISER = "optimiser.safetensors"
TENSOR = "__tensor__"  # stands for a tensor in JSON


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that train, by name: all of them, or the adapters."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def snapshot(model: nn.Module) -> Weights:
    """A copy of the trainable weights."""
    return {name: weight.detach().clone() for name, weight in trainable(model).items()}


@torch.no_grad()
def restore(model: nn.Module, weights: Weights) -> None:
    """Put a snapshot back."""
    for name, weight in trainable(model).items():
        weight.copy_(weights[name])


class Reference:
    """The policy that KL is measured to: a copy of the trainable weights only, which replaces the policy's on demand.

    With LoRA these are the adapters' few megabytes instead of a second model.
    """

    def __init__(self, model: nn.Module, weights: Weights | None = None) -> None:
        self.model = model
        self.weights = snapshot(model) if weights is None else weights

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context the model has the reference's weights; no gradients."""
        live = trainable(self.model)
        kept = {name: weight.data for name, weight in live.items()}
        try:
            for name, weight in live.items():
                weight.data = self.weights[name]
            with torch.no_grad():
                yield
        finally:
            for name, weight in live.items():
                weight.data = kept[name]

    @torch.no_grad()
    def sync(self, mixup: float) -> None:
        """reference <- mixup · policy + (1 - mixup) · reference."""
        for name, weight in trainable(self.model).items():
            self.weights[name].lerp_(weight.detach(), mixup)


def random_state(device: torch.device) -> Weights:
    """State of the generators that a training on this device draws from: dropout on a GPU has one of its own."""
    state = {"random": torch.get_rng_state()}
    return state | {"cuda_random": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_state(state: Weights, device: torch.device) -> None:
    """Go on from a `random_state`; one that was kept on a CPU knows nothing of a GPU's."""
    torch.set_rng_state(state["random"].cpu())
    if device.type == "cuda" and "cuda_random" in state:
        torch.cuda.set_rng_state(state["cuda_random"].cpu(), device)


def save_progress(directory: Path, weights: dict[str, Weights], facts: dict[str, Any], optimiser: Any) -> None:
    """Write a sealed checkpoint; the old one is removed only when the new one is complete.

    Args:
        weights: sets of weights by name ("policy", "reference", "best").
        optimiser: nested state dicts of numbers, strings and tensors; stored as JSON and safetensors.
    """
    fresh = directory.with_name(directory.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, tensors in weights.items():
        _save_tensors(tensors, fresh / f"{name}.safetensors")
    slots: Weights = {}
    (fresh / "optimiser.json").write_text(json.dumps(_without_tensors(optimiser, slots)), encoding="utf-8")
    _save_tensors(slots, fresh / OPTIMISER)
    (fresh / "progress.json").write_text(json.dumps(facts), encoding="utf-8")
    seal(fresh)
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    fresh.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def load_progress(directory: Path, device: torch.device) -> tuple[dict[str, Weights], dict[str, Any], Any] | None:
    """The latest complete checkpoint, or None. A kill between two renames leaves it under `.old` or `.new`."""
    for path in (
        directory,
        directory.with_name(directory.name + ".new"),
        directory.with_name(directory.name + ".old"),
    ):
        if (path / "manifest.json").is_file():
            verify(path)
            found = {file.name: load_file(file, device=str(device)) for file in path.glob("*.safetensors")}
            slots = found.pop(OPTIMISER)
            facts = json.loads((path / "progress.json").read_text(encoding="utf-8"))
            optimiser = _with_tensors(json.loads((path / "optimiser.json").read_text(encoding="utf-8")), slots)
            return {name.removesuffix(".safetensors"): tensors for name, tensors in found.items()}, facts, optimiser
    return None


def _save_tensors(tensors: Weights, path: Path) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


def _without_tensors(tree: Any, tensors: Weights) -> Any:
    """`tree` as JSON values; its tensors are moved to `tensors`, under consecutive numbers."""
    if isinstance(tree, torch.Tensor):
        tensors[str(len(tensors))] = tree
        return {TENSOR: len(tensors) - 1}
    if isinstance(tree, dict):
        return {key: _without_tensors(value, tensors) for key, value in tree.items()}
    return [_without_tensors(value, tensors) for value in tree] if isinstance(tree, list | tuple) else tree


def _with_tensors(tree: Any, tensors: Weights) -> Any:
    """The inverse of `_without_tensors`, except that tuples are lists; JSON turned integer keys into strings."""
    if isinstance(tree, dict):
        if TENSOR in tree:
            return tensors[str(tree[TENSOR])]
        return {int(key) if key.isdigit() else key: _with_tensors(value, tensors) for key, value in tree.items()}
    return [_with_tensors(value, tensors) for value in tree] if isinstance(tree, list) else tree
