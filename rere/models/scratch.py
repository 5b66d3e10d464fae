"""Backbones from scratch: a tokenizer trained on the catalogue, and a transformers config of the configured size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from rere.config.backbone import ScratchModel

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"


def train_tokenizer(titles: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: lossless for any title."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(titles, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=PAD)


def scratch_config(backbone: ScratchModel, vocabulary: int, context: int) -> Any:
    """A transformers config of the configured size; 4·width inner units (gated: 8/3), tied embeddings."""
    layers, width, heads = backbone.layers, backbone.width, backbone.heads
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if backbone.architecture == "gpt2":
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), backbone.dropout)
        sizes = {"n_layer": layers, "n_embd": width, "n_head": heads, "n_positions": max(2048, context)}
        return AutoConfig.for_model("gpt2", vocab_size=vocabulary, **sizes, **dropout, **special)
    return AutoConfig.for_model(
        backbone.architecture,
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=(8 * width // 3 + 7) // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=width // heads,
        max_position_embeddings=max(4096, context),
        attention_dropout=backbone.dropout,
        tie_word_embeddings=True,
        **special,
    )
