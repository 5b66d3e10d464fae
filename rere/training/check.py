"""Checks of a backbone and its settings before anything is trained.

Nothing large is loaded: of files only the headers are read, and the architecture is built as a miniature with random
weights, one layer of each kind, and attention windows short enough to take effect.
"""

from __future__ import annotations

import copy
import logging
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from rere.artifacts.pins import unpinned
from rere.catalog.prompts import prompt_frame
from rere.catalog.tokenization import end_token
from rere.catalog.trie import build_trie
from rere.config.backbone import Backbone, LocalModel, ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.decoding import SearchSettings
from rere.config.preference import PreferenceConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.decoding.beam import beam_search
from rere.errors import RereError
from rere.models.attention import own_attention
from rere.models.backbone import load_config, load_tokenizer
from rere.models.context import context_of, require_room
from rere.models.files import check_weights, reading
from rere.models.tree_attention import TreeModel
from rere.training.adaptation import adapt, prepared

VOCABULARY = 64
WIDTHS = ("intermediate_size", "moe_intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
NARROW, WINDOW = 64, 3


def check_backbone(
    catalog: IndexConfig,
    sft: SFTConfig,
    rl: RLConfig,
    preference: PreferenceConfig | None = None,
    reasoning: ReasoningConfig | None = None,
) -> None:
    """Check that a backbone can be trained, searched and scored with these settings; takes seconds.

    Warns about models that are not pinned to a commit.

    Raises:
        RereError: a backbone that can't be found or read, has no complete safetensors weights or no usable tokenizer,
            is quantised, or is of an architecture that the search doesn't support; LoRA targets that it lacks; an
            instruction that leaves no room in its context; a chat template that is asked for and can't be used.
    """
    if moving := unpinned(catalog, rl):
        logging.getLogger(__name__).warning(
            "Not pinned to a commit, so the content may change: %s. Give a commit as `revision`.", ", ".join(moving)
        )
    config = load_config(catalog.backbone)
    if isinstance(catalog.backbone, LocalModel):
        check_weights(catalog.backbone.path)
    if not isinstance(catalog.backbone, ScratchModel):
        tokenizer = load_tokenizer(catalog.backbone, ())
        end_token(tokenizer)
        around = prompt_frame(tokenizer, catalog).tokens
        # The data decide how long prompts are; the shortest has one item, and one more follows it.
        require_room(context_of(config), around + 2, "a shorter `catalog.instruction`, or another backbone")
    check_search(miniature(catalog.backbone))
    prepared(miniature(catalog.backbone), sft.adaptation)
    for policy in (preference, rl, reasoning):
        if policy is not None:
            adapt(miniature(catalog.backbone), policy.adaptation)


def miniature(backbone: Backbone) -> PreTrainedModel:
    """A model of the backbone's architecture, with random weights, few layers and a small vocabulary.

    Raises:
        RereError: the backbone can't be found, or is no causal language model.
    """
    config = copy.deepcopy(load_config(backbone, VOCABULARY).get_text_config())
    small: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    kinds = getattr(config, "layer_types", None)
    layers = list(dict.fromkeys(kinds)) if kinds else [None] * min(2, config.num_hidden_layers)
    small |= {"num_hidden_layers": len(layers)} | ({"layer_types": layers} if kinds else {})
    small |= {
        name: min(NARROW, getattr(config, name)) for name in WIDTHS if isinstance(getattr(config, name, None), int)
    }
    if getattr(config, "sliding_window", None):
        small["sliding_window"] = WINDOW
    with reading(f"a causal language model that transformers can build ({config.model_type})", "use another backbone"):
        config.update(small)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False, **own_attention(config))
    return cast(PreTrainedModel, model.eval())


@torch.no_grad()
def check_search(model: PreTrainedModel) -> None:
    """Compare one short search with the model's plain forwards.

    Raises:
        RereError: the search doesn't support the architecture, or its scores differ.
    """
    items, prompt = [[5, 6, 7], [5, 6, 8], [9]], list(range(10, 20))
    found = beam_search(TreeModel(model), build_trie(items), [prompt], SearchSettings(beams=len(items)))
    model.set_attn_implementation("eager")
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        tokens = items[item]
        logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        plain = float(torch.log_softmax(logits, -1)[torch.arange(len(tokens)), torch.tensor(tokens)].sum())
        if abs(plain - score) > 1e-3:
            raise RereError(
                "a model to which the search gives the scores of its own forward",
                f"{type(model).__name__}, whose scores differ by {abs(plain - score):.3g} nats",
                "use another backbone; docs/configuration.md lists the architectures",
            )
