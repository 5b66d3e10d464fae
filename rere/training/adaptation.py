"""Which weights train: all of them, or LoRA adapters (peft) that are merged when training ends."""

from __future__ import annotations

from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from rere.config.training import Adaptation, LoRA


def lora_config(adaptation: Adaptation) -> LoraConfig | None:
    """peft's settings, or None when all weights train."""
    if not isinstance(adaptation, LoRA):
        return None
    targets = adaptation.targets if isinstance(adaptation.targets, str) else list(adaptation.targets)
    return LoraConfig(
        r=adaptation.rank,
        lora_alpha=adaptation.alpha,
        lora_dropout=adaptation.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def adapt(model: PreTrainedModel, adaptation: Adaptation) -> PreTrainedModel | PeftModel:
    """The model with the asked weights trainable."""
    config = lora_config(adaptation)
    return model if config is None else cast(PeftModel, get_peft_model(model, config))


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A plain model: adapters, if any, folded into the weights (the adapted model is consumed)."""
    return cast(PreTrainedModel, model.merge_and_unload()) if isinstance(model, PeftModel) else model
