"""Backbones: where a model and its tokenizer come from.

By config a Hugging Face hub id, a local directory, a GGUF file, or random weights with a byte-level BPE tokenizer
trained on the catalogue. Sampling settings of a checkpoint (top_k, do_sample, ...) are dropped in all four cases, so
that decoding has no hidden settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from rere.config.backbone import Backbone, GGUFModel, HubModel, LocalModel, ScratchModel
from rere.errors import RereError
from rere.models.attention import own_attention
from rere.models.files import check_model_directory, check_weights, reading, refuse_quantised
from rere.models.gguf import converted, gguf_file
from rere.models.heads import embedding_weights
from rere.models.loading import SAFE, SAFE_WEIGHTS, plain_decoding, to_device
from rere.models.scratch import scratch_config, train_tokenizer
from rere.runtime.hub import from_hub, require_reachable

REMEDY = "check the id or path; without a network use `type: directory`, `gguf` or `scratch`"


def load_tokenizer(backbone: Backbone, titles: Iterable[str]) -> PreTrainedTokenizerFast:
    """The backbone's tokenizer; for a scratch model, one trained on `titles`.

    Raises:
        RereError: the backbone can't be found.
    """
    if isinstance(backbone, ScratchModel):
        return train_tokenizer(titles, backbone.vocabulary)
    path, options = _locate(backbone)
    with reading(f"a tokenizer with the model at {_named(backbone)}", f"save its tokenizer there too, or {REMEDY}"):
        tokenizer = _fetched(backbone, lambda: AutoTokenizer.from_pretrained(path, **options, **SAFE))
        if not len(tokenizer) or not tokenizer("a b c", add_special_tokens=False)["input_ids"]:
            raise ValueError("none")  # without a file, transformers returns an empty tokenizer
    if not tokenizer.is_fast:
        raise RereError("a fast tokenizer (tokenizer.json)", type(tokenizer).__name__, "convert it with transformers")
    return cast(PreTrainedTokenizerFast, tokenizer)


def load_model(backbone: Backbone, vocabulary: int, seed: int, context: int = 0) -> PreTrainedModel:
    """The backbone's model in float32, on the default device.

    Args:
        vocabulary: tokens of the tokenizer that the catalogue was indexed with. Those beyond a pretrained
            backbone's own tokenizer are new (semantic IDs): they get embeddings of their own.
        seed: of the random weights of a scratch model, and of new embeddings.
        context: tokens that a scratch model must be able to read; it reads at least a few thousand.

    Raises:
        RereError: the backbone can't be found or read, lacks weights, or is not the one that the tokenizer came from.
    """
    if isinstance(backbone, ScratchModel):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(scratch_config(backbone, vocabulary, context))
    else:
        config, (path, options) = load_config(backbone), _locate(backbone)
        if isinstance(backbone, LocalModel):
            check_weights(backbone.path)
        with reading(f"a causal language model at {_named(backbone)}", REMEDY):
            options |= {**SAFE_WEIGHTS, **own_attention(config), "output_loading_info": True}
            model, loaded = cast(
                tuple[PreTrainedModel, dict[str, Any]],
                _fetched(backbone, lambda: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options)),
            )
        if absent := sorted({*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}):
            raise RereError(
                f"all weights of {type(model).__name__} at {_named(backbone)}",
                f"none of the right shape for {', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}",
                "use a complete causal language model: missing weights would be random",
            )
        _embed_new_tokens(model, len(load_tokenizer(backbone, ())), vocabulary, seed)
    return to_device(plain_decoding(model))


@torch.no_grad()
def _embed_new_tokens(model: PreTrainedModel, own: int, vocabulary: int, seed: int) -> None:
    """Add rows to the embedding and the head for tokens after the backbone's `own`, drawn with their mean and spread.

    With equal rows (the mean alone) all new tokens would stay the same if embeddings are not trained (LoRA).

    Raises:
        RereError: the model and the tokenizers don't belong together.
    """
    if own > vocabulary:
        raise RereError(
            f"a catalogue whose tokenizer has the backbone's {own} tokens",
            f"a tokenizer of {vocabulary}",
            "use the backbone that the catalogue was indexed with",
        )
    known = len(cast(torch.Tensor, model.get_input_embeddings().weight))
    start = min(own, known)  # a tokenizer may have a padding token that the model lacks; an embedding, spare rows
    if vocabulary > known:
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    if vocabulary > start:
        generator = torch.Generator().manual_seed(seed)
        for weight in embedding_weights(model):
            spread, mean = torch.std_mean(weight[:start], dim=0)
            weight[start:vocabulary] = mean + spread * torch.randn((vocabulary - start, len(mean)), generator=generator)


def load_config(backbone: Backbone, vocabulary: int = 300) -> Any:
    """The backbone's transformers config; for a scratch model, one with a vocabulary of this size.

    Raises:
        RereError: the backbone can't be found or read, or its weights are quantised.
    """
    if isinstance(backbone, ScratchModel):
        with reading("a scratch model that can be built", "let `width` be an even multiple of `heads`"):
            return scratch_config(backbone, vocabulary, 0)
    path, options = _locate(backbone)
    with reading(f"a causal language model at {_named(backbone)}", REMEDY):
        if isinstance(backbone, HubModel):
            require_reachable(backbone.id, backbone.revision, "config.json")
        config = _fetched(backbone, lambda: AutoConfig.from_pretrained(path, **options, **SAFE))
    refuse_quantised(getattr(config, "quantization_config", None), _named(backbone))
    return config


def _fetched(backbone: Backbone, fetch: Callable[[], Any]) -> Any:
    """What `fetch` gives, with patience where it comes from the hub."""
    return from_hub(fetch, backbone.id) if isinstance(backbone, HubModel) else fetch()


def _named(backbone: HubModel | LocalModel | GGUFModel) -> str:
    if isinstance(backbone, HubModel):
        return f"{backbone.id} (revision {backbone.revision})"
    return str(backbone.path or backbone.package) if isinstance(backbone, GGUFModel) else str(backbone.path)


def _locate(backbone: HubModel | LocalModel | GGUFModel) -> tuple[str, dict[str, Any]]:
    """The id or path and the options for `from_pretrained`."""
    if isinstance(backbone, HubModel):
        return backbone.id, {"revision": backbone.revision}
    if isinstance(backbone, LocalModel):
        check_model_directory(backbone.path)
        return str(backbone.path), {"local_files_only": True}
    return str(converted(gguf_file(backbone))), {"local_files_only": True}
