"""Stock transformers models over trees of tokens.

All tokens of a forward, of however many prompts, are packed into one row without padding: (1, T). Only
attention needs to know which prompt a token belongs to and what it may attend to; it gets that as a
`PackedBatch` through the models' own keyword arguments, by transformers' attention interface. No model
code is patched, and a call without a packed_batch behaves as plain SDPA.

Axes: T packed tokens, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
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

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

SUPPORTED = "Llama, Qwen2, Qwen3, Gemma 1 to 3, Mistral, Phi, Granite, GPT-2, OPT and alike"
_known: WeakSet[PreTrainedModel] = WeakSet()  # models whose packed forward has been compared with their own


class TreeModel:
    """A causal language model, split into its body (tokens -> hidden states) and its head.

    The head is evaluated elsewhere, and only where it is needed. Creating a TreeModel switches the model's
    attention to the registered function, and checks once that body and head together give the model's own
    logits: a model that computes anything else is refused rather than scored wrongly.

    Attributes:
        base: the model without adapters around it.
        windowed: whether the model has a sliding attention window.
        fast_llama: the fast forward for inference; None for other architectures.
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
        self.fast_llama = FastLlama.of(base.get_decoder())
        if base not in _known:
            try:
                self._compare(base)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise _unfit(base, f"a forward that fails here ({type(error).__name__}: {error})") from error
            _known.add(base)
        elif base.config._attn_implementation != NAME:
            base.set_attn_implementation(NAME)

    def require_room(self, tokens: int) -> None:
        """Raises RereError if a prompt with an item, of this many tokens in all, exceeds the model's context."""
        require_room(self.context, tokens)

    def hidden(
        self,
        tokens: Int[Tensor, " T"],
        positions: Int[Tensor, " T"],
        packed_batch: Batch,
        slot_positions: Int[Tensor, "P S"] | None = None,
    ) -> Float[Tensor, "T width"]:
        """Final hidden states (T, width) of packed tokens (T,) at positions (T,).

        Args:
            slot_positions: (P, S) positions of the keys in the packed_batch's store, if it has one.
        """
        if self.windowed:
            packed_batch = packed_batch.at(positions, slot_positions)
        inference = not torch.is_grad_enabled() and not self.model.training
        if self.fast_llama is not None and inference and not torch.is_autocast_enabled(self.device.type):
            return self.fast_llama(tokens, positions, packed_batch)
        return self._stock(tokens, positions, packed_batch)

    def _stock(
        self, tokens: Int[Tensor, " T"], positions: Int[Tensor, " T"], packed_batch: Batch
    ) -> Float[Tensor, "T width"]:
        """The model's own forward."""
        # transformers passes a 4-D mask on unchanged, and `tree_attention` ignores it.
        ignored = torch.empty((1, 1, 1, 1), dtype=self.dtype, device=tokens.device)
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
        base.set_attn_implementation("eager")  # the architecture's own formulas, some of which SDPA leaves out
        stock = torch.cat([base(input_ids=prompt[None]).logits[0] for prompt in prompts])
        base.set_attn_implementation(NAME)
        if base.config._attn_implementation != NAME:
            raise _unfit(base, "attention that cannot be replaced")
        row = torch.cat([torch.full_like(prompt, n) for n, prompt in enumerate(prompts)])
        position = torch.cat([torch.arange(len(prompt), device=self.device) for prompt in prompts])
        packed_batch = PackedBatch(row=row, column=position, prompts=2, queries=6, positions=position)
        for forward in (self._stock, self.fast_llama):
            if forward is None:
                continue
            ours = self.head(forward(torch.cat(prompts), position, packed_batch))
            if not _same(ours, stock):
                raise _unfit(base, f"logits that differ from its own by {(ours - stock).abs().max():.3g}")
        base.train(training)


def _same(ours: torch.Tensor, stock: torch.Tensor) -> bool:
    """Whether logits are equal up to rounding.

    In half precision, small logits carry the rounding of the large numbers behind them: the difference is compared with
    the norm of all logits."""
    if stock.dtype in (torch.bfloat16, torch.float16):
        return bool((ours - stock).float().norm() <= 3e-2 * stock.float().norm())
    return torch.allclose(ours.float(), stock.float(), atol=1e-3, rtol=1e-2)


def check_engine(model: PreTrainedModel) -> None:
    """Check that a model can be searched and scored as trees; the model is left as it was.

    Raises:
        RereError: its attention or its logits are of a kind that is not supported.
    """
    before = model.config._attn_implementation
    try:
        TreeModel(model)
    finally:
        model.set_attn_implementation(before)


def _unfit(model: PreTrainedModel, problem: str) -> RereError:
    return RereError(
        "a model whose attention and logits the search supports",
        f"{type(model).__name__}, with {problem}",
        f"use another architecture ({SUPPORTED})",
    )
