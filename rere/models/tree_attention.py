"""Stock transformers models over trees of tokens.

All tokens of a forward, of however many prompts, are packed into one row without padding: (1, N). Only
attention needs to know which prompt a token belongs to and what it may see; it gets that as a
`PackedBatch` through the models' own keyword arguments, by transformers' attention interface. No model
code is patched, and a call without a packed_batch behaves as plain SDPA.

Axes: N packed tokens, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from weakref import WeakSet

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rere.errors import RereError
from rere.models.attention import NAME
from rere.models.context import context_of, require_room
from rere.models.fast_llama import FastLlama
from rere.models.heads import head_of
from rere.models.packed_batch import Batch, PackedBatch

SUPPORTED = "Llama, Qwen2, Qwen3, Gemma 1 to 3, Mistral, Phi, Granite, GPT-2, OPT and alike"
_known: WeakSet[PreTrainedModel] = WeakSet()  # models that were compared with themselves


class TreeModel:
    """A causal language model, split into its body (tokens -> hidden states) and its head.

    The head is evaluated elsewhere, and only where it is needed. Creating one switches the model's
    attention to the registered function, and checks once that body and head together give the model's own
    logits: a model that does more than they know of is refused rather than mis-scored.

    Attributes:
        base: the model without adapters around it.
        windowed: whether a token may be too far from an earlier one to see it.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        base = cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)
        if base.get_decoder() is base or base.get_output_embeddings() is None:
            raise _unfit(base, "no body and head of their own")
        self.model, self.base = model, base
        self.body = cast(Callable[..., Any], base.get_decoder())
        self.head = head_of(base)
        self.device, self.dtype = self.head.weight.device, self.head.weight.dtype
        self.context = context_of(base.config)
        text = base.config.get_text_config()
        self.windowed = getattr(text, "sliding_window", None) is not None
        self.lean = FastLlama.of(base.get_decoder())
        if base not in _known:
            try:
                self._compare(base)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise _unfit(base, f"a forward that fails here ({type(error).__name__}: {error})") from error
            _known.add(base)
        elif base.config._attn_implementation != NAME:
            base.set_attn_implementation(NAME)

    def require_room(self, tokens: int) -> None:
        """Raises RereError where a prompt and an item of so many tokens are more than the model reads."""
        require_room(self.context, tokens)

    def hidden(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        packed_batch: Batch,
        slot_positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Final hidden states (N, width) of packed tokens (N,) at positions (N,).

        Args:
            slot_positions: (P, S) positions of the keys in the packed_batch's store, where it has one.
        """
        if self.windowed:
            packed_batch = packed_batch.at(positions, slot_positions)
        bare = not torch.is_grad_enabled() and not torch.is_autocast_enabled(self.device.type)
        if self.lean is not None and bare and not self.model.training:
            return self.lean(tokens, positions, packed_batch)
        return self._stock(tokens, positions, packed_batch)

    def _stock(self, tokens: torch.Tensor, positions: torch.Tensor, packed_batch: Batch) -> torch.Tensor:
        """The model's own forward."""
        ignored = torch.empty((1, 1, 1, 1), dtype=self.dtype, device=tokens.device)  # a 4-D mask is taken as it is
        out = self.body(
            input_ids=tokens[None],
            position_ids=positions[None],
            attention_mask=ignored,
            use_cache=False,
            packed_batch=packed_batch,
        )
        return out.last_hidden_state[0]

    @torch.no_grad()
    def _compare(self, base: PreTrainedModel) -> None:
        """Switch the attention, and compare two prompts packed together with the model's own forward of each."""
        training = base.training
        base.eval()
        prompts = [torch.arange(3, 9, device=self.device), torch.arange(5, 8, device=self.device)]
        base.set_attn_implementation("eager")  # the architecture's own formulas, also where SDPA leaves some out
        stock = torch.cat([base(input_ids=prompt[None]).logits[0] for prompt in prompts])
        base.set_attn_implementation(NAME)
        if base.config._attn_implementation != NAME:
            raise _unfit(base, "attention that can't be replaced")
        row = torch.cat([torch.full_like(prompt, n) for n, prompt in enumerate(prompts)])
        place = torch.cat([torch.arange(len(prompt), device=self.device) for prompt in prompts])
        packed_batch = PackedBatch(row=row, column=place, prompts=2, queries=6, positions=place)
        for way in (self._stock, self.lean) if self.lean is not None else (self._stock,):
            ours = self.head(way(torch.cat(prompts), place, packed_batch))
            tolerance = 5e-2 if self.dtype in (torch.bfloat16, torch.float16) else 1e-3
            if not torch.allclose(ours.float(), stock.float(), atol=tolerance, rtol=1e-2):
                raise _unfit(base, f"logits that differ from its own by {(ours - stock).abs().max():.3g}")
        base.train(training)


def check_engine(model: PreTrainedModel) -> None:
    """Find out whether a model can be searched and scored as trees; it is left as it was.

    Raises:
        RereError: it can't: its attention or its logits are of a kind that is not known here.
    """
    before = model.config._attn_implementation
    try:
        TreeModel(model)
    finally:
        model.set_attn_implementation(before)


def _unfit(model: PreTrainedModel, problem: str) -> RereError:
    return RereError(
        "a model whose attention and logits the search knows",
        f"{type(model).__name__}, with {problem}",
        f"use another architecture ({SUPPORTED})",
    )
