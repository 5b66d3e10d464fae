"""Which weights train: all of them, or LoRA adapters (peft) that are merged when training ends."""

from __future__ import annotations

from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn
from transformers import PreTrainedModel

from rere.config.training import Adaptation, LoRA
from rere.errors import RereError


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
    """The model with the asked weights trainable.

    Raises:
        RereError: LoRA targets that the model lacks, or that can't have adapters.
    """
    config = lora_config(adaptation)
    if config is None:
        return model
    _require_targets(model, config)
    _untie(model, config)
    try:
        return cast(PeftModel, get_peft_model(model, config))
    except ValueError as error:  # a module of a type that peft has no adapter for
        raise _no_target(model, str(error).partition(". Currently")[0]) from error


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A plain model: adapters, if any, folded into the weights (the adapted model is consumed)."""
    return cast(PreTrainedModel, model.merge_and_unload()) if isinstance(model, PeftModel) else model


def _require_targets(model: PreTrainedModel, config: LoraConfig) -> None:
    """Each target by itself: peft is content when one of them is found."""
    if config.target_modules == "all-linear":
        return
    wanted = config.target_modules
    targets = [wanted] if isinstance(wanted, str) else sorted(wanted or ())
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        alone = LoraConfig(target_modules=target if isinstance(wanted, str) else [target])
        if not any(check_target_module_exists(alone, name) for name in names):
            raise _no_target(model, f"no module {target!r}")


def _untie(model: PreTrainedModel, config: LoraConfig) -> None:
    """Give the head weights of its own where an adapter is for it or for the embedding, and the two share theirs.

    An adapter changes one use of a shared weight. Merged into the weight it would change both.
    """
    embedding, head = model.get_input_embeddings(), cast(nn.Linear | None, model.get_output_embeddings())
    if head is None or head.weight is not embedding.weight or config.target_modules == "all-linear":
        return  # all-linear leaves both out
    if any(
        module in (embedding, head) and check_target_module_exists(config, name)
        for name, module in model.named_modules()
    ):
        head.weight = nn.Parameter(head.weight.detach().clone())
        for one in (model.config, model.config.get_text_config()):
            one.tie_word_embeddings = False


def _no_target(model: PreTrainedModel, problem: str) -> RereError:
    kinds = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _adaptable(module)})
    return RereError(
        f"LoRA targets that {type(model).__name__} has ({', '.join(kinds)}, or all-linear)",
        problem,
        "correct `adaptation.targets`",
    )


def _adaptable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"
