"""Which weights train: all of them, or LoRA adapters (peft) that are merged when training ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rere.config.training import Adaptation, LoRA
from rere.errors import RereError

ALL = "all-linear"  # peft's name for all linear layers except the head


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


def prepared(model: PreTrainedModel, adaptation: Adaptation) -> LoraConfig | None:
    """peft's settings for TRL's trainer; also prepares the model for them. None when all weights train.

    Raises:
        RereError: LoRA targets that the model lacks or that can't have adapters; or the head, because that trainer
            reads its weights without adapters.
    """
    config = _ready(model, adaptation)
    if config is not None and config.target_modules != ALL and _targets(config, model, model.get_output_embeddings()):
        raise _no_target(model, "its head, whose adapters fine-tuning would ignore", ("lm_head", "embed_out"))
    return config


def adapt(model: PreTrainedModel, adaptation: Adaptation) -> PreTrainedModel | PeftModel:
    """The model with the configured weights trainable.

    Raises:
        RereError: LoRA targets that the model lacks or that can't have adapters.
    """
    config = _ready(model, adaptation)
    return model if config is None else cast(PeftModel, get_peft_model(model, config))


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A plain model, with any adapters merged into its weights; the adapted model must not be used afterwards."""
    return cast(PreTrainedModel, model.merge_and_unload()) if isinstance(model, PeftModel) else model


def _ready(model: PreTrainedModel, adaptation: Adaptation) -> LoraConfig | None:
    config = lora_config(adaptation)
    if config is not None and config.target_modules != ALL:
        _require_targets(model, config)
        _untie(model, config)
    return config


def _require_targets(model: PreTrainedModel, config: LoraConfig) -> None:
    """Check each target: peft itself accepts targets if one of them is found."""
    wanted = config.target_modules
    for target in [wanted] if isinstance(wanted, str) else sorted(wanted or ()):
        alone = LoraConfig(target_modules=target if isinstance(wanted, str) else [target])
        found = [module for name, module in model.named_modules() if check_target_module_exists(alone, name)]
        if not found:
            raise _no_target(model, f"no module {target!r}")
        if odd := [type(module).__name__ for module in found if not _adaptable(module)]:
            raise _no_target(model, f"{target!r}, a {odd[0]}")


def _untie(model: PreTrainedModel, config: LoraConfig) -> None:
    """Give the head its own copy of weights that it shares with the embedding, if either gets an adapter.

    An adapter changes one use of a shared weight; merged into the weight, it would change both.
    """
    embedding, head = model.get_input_embeddings(), cast(nn.Linear | None, model.get_output_embeddings())
    if head is None or head.weight is not embedding.weight:
        return
    if _targets(config, model, embedding) or _targets(config, model, head):
        head.weight = nn.Parameter(head.weight.detach().clone())
        for one in (model.config, model.config.get_text_config()):
            one.tie_word_embeddings = False


def _targets(config: LoraConfig, model: PreTrainedModel, wanted: nn.Module | None) -> bool:
    """Whether a module of the model gets an adapter."""
    found = (name for name, module in model.named_modules() if module is wanted)
    return any(check_target_module_exists(config, name) for name in found)


def _no_target(model: PreTrainedModel, problem: str, without: Iterable[str] = ()) -> RereError:
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if _adaptable(module)}
    kinds = sorted(names - set(without))
    return RereError(
        f"LoRA targets that {type(model).__name__} has ({', '.join(kinds)}, or {ALL})",
        problem,
        "correct `adaptation.targets`",
    )


def _adaptable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding | Conv1D)
