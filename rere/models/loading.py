"""What all ways of loading a transformers model share: safe options, plain decoding, the device."""

from __future__ import annotations

import os
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel

from rere.runtime.memory import keep_freed_memory
from rere.runtime.progress import tame_transformers

SAFE: dict[str, Any] = {"trust_remote_code": False}  # never run a model's own code
SAFE_WEIGHTS = {**SAFE, "use_safetensors": True}  # never unpickle weights
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else weights may come from a revision that nobody named
tame_transformers()


def default_device() -> torch.device:
    """The first GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(model: PreTrainedModel) -> PreTrainedModel:
    """Move the model to the default device; on a CPU, set up the allocator for it."""
    keep_freed_memory()
    cast(torch.nn.Module, model).to(default_device())
    return model


def plain_decoding(model: PreTrainedModel) -> PreTrainedModel:
    """Drop the sampling settings that Instruct checkpoints bring along; keep the token ids."""
    old = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=getattr(old, "bos_token_id", None),
        eos_token_id=getattr(old, "eos_token_id", None),
        pad_token_id=getattr(old, "pad_token_id", None),
    )
    return model
