"""A model's logits on fixed tokens, to compare a stored model with the trained one."""

from __future__ import annotations

from typing import cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rere.errors import RereError

TOKENS = 16
TOLERANCE = 1e-3  # share of the logits' root mean square; merging adapters rounds a little


@torch.no_grad()
def probe(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    """Logits (T, vocabulary) on the CPU, of T tokens spread over the vocabulary; without dropout."""
    training = model.training
    model.eval()
    table = cast(torch.Tensor, model.get_input_embeddings().weight)
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or TOKENS
    tokens = torch.linspace(0, table.shape[0] - 1, min(TOKENS, room), device=table.device).long()
    logits = model(input_ids=tokens[None], use_cache=False).logits[0].float().cpu()
    model.train(training)
    return logits


def require_same(stored: torch.Tensor, trained: torch.Tensor, directory: str) -> None:
    """Raises RereError if two results of `probe` differ by more than rounding."""
    scale = trained.square().mean().sqrt()
    apart = float((stored - trained).square().mean().sqrt() / scale) if stored.shape == trained.shape else float("nan")
    if not apart <= TOLERANCE:
        raise RereError(
            f"the trained model in {directory}",
            f"one whose answers differ by {apart:.1%}",
            "report this; until it is fixed, `adaptation: {type: full}` or LoRA with `targets: all-linear` "
            "stores what was trained",
        )
