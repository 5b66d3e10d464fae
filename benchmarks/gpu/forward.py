"""What launching kernels costs: forwards of a search as they are, with compiled regions, and as a CUDA graph.

A graph replays one shape; a search's shapes change with every step, so the graph's time is what a search could save at
most, not what it gets. Compiled regions (a layer's parts around its attention) take any number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.common import interleaved, random_prompts, subject
from benchmarks.gpu.sizes import Sizes
from rere.config.decoding import SearchSettings
from rere.decoding.beam import beam_search
from rere.models.fast_llama import FastLlama
from rere.models.packed_batch import PackedBatch
from rere.models.tree_attention import TreeModel

CALLS = 10  # per timing


def even_batch(model: TreeModel, prompts: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, PackedBatch]:
    """Tokens, positions and their packing, of prompts of equal lengths."""
    column = torch.arange(tokens, device=model.device).repeat(prompts)
    row = torch.arange(prompts, device=model.device).repeat_interleave(tokens)
    return column % 1000 + 5, column, PackedBatch(row=row, column=column, prompts=prompts, queries=tokens)


def graphed(work: Callable[[], Any]) -> Callable[[], Any]:
    """`work`, recorded once; calling what is returned replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


@torch.no_grad()
def forwards(sizes: Sizes, device: str) -> Iterator[dict[str, Any]]:
    name = sizes.main_model
    for dtype in reversed(sizes.dtypes):
        model, catalog = subject(name, dtype)
        body = model.base.get_decoder()
        plain, compiled = FastLlama.of(body), FastLlama.of(body) if sizes.compile else None
        assert plain is not None
        why: dict[str, str] = {} if sizes.compile else {"compiled": "not asked for"}
        if compiled is not None:
            try:
                compiled.compile()
                for tokens in (sizes.tokens, sizes.group):  # so that no time below has a compilation in it
                    compiled(*even_batch(model, 1, tokens))
            except Exception as error:  # torch.compile wants a C compiler, which a bare machine may lack
                compiled, why["compiled"] = None, f"{type(error).__name__}: {str(error)[:200]}"
        if device != "cuda":
            why["graph"] = "no CUDA"
        kinds: dict[str, Callable[..., Any]] = {
            "stock": Stock(model),
            "plain": plain,
        }
        if compiled is not None:
            kinds["compiled"] = compiled
        for what, prompts, tokens in (
            ("a step of all beams", 1, sizes.group),
            ("a prompt", 1, sizes.tokens),
            ("a batch of prompts", sizes.prompts, sizes.tokens),
        ):
            batch = even_batch(model, prompts, tokens)
            ways = {way: partial(repeated, partial(forward, *batch)) for way, forward in kinds.items()}
            if device == "cuda":
                ways["graph"] = partial(repeated, graphed(partial(plain, *batch)))
            measured = interleaved(ways, sizes.repeats)
            yield {
                "model": name,
                "dtype": dtype,
                "what": f"{what}, {tokens} tokens each",
                "prompts": prompts,
                "ms": {way: 1000 * run.seconds / CALLS for way, run in measured.items()},
                "why": "; ".join(f"{way}: {reason}" for way, reason in why.items()),
            }
        yield whole_searches(model, catalog, sizes, compiled) | {
            "model": name,
            "dtype": dtype,
            "what": "a whole search (trie)",
            "why": why.get("compiled", ""),
        }


def whole_searches(model: TreeModel, catalog: Any, sizes: Sizes, compiled: FastLlama | None) -> dict[str, Any]:
    """Milliseconds of a search with each kind of forward."""
    trie = catalog.trie.to(model.device)
    prompts = random_prompts(catalog, sizes.prompts, sizes.tokens, seed=0)
    kinds: dict[str, FastLlama | None] = {"stock": None, "plain": model.fast_llama}
    if compiled is not None:
        kinds["compiled"] = compiled

    def search(kept: FastLlama | None) -> None:
        model.fast_llama = kept
        beam_search(model, trie, prompts, SearchSettings(beams=sizes.group, normalisation="trie"))

    measured = interleaved({way: partial(search, kind) for way, kind in kinds.items()}, sizes.repeats)
    model.fast_llama = kinds["plain"]
    return {"prompts": sizes.prompts, "ms": {way: 1000 * run.seconds for way, run in measured.items()}}


class Stock:
    """The model's own forward, called as the lean one is."""

    def __init__(self, model: TreeModel) -> None:
        self.model = model

    def __call__(self, *batch: Any) -> torch.Tensor:
        kept, self.model.fast_llama = self.model.fast_llama, None
        try:
            return self.model.hidden(*batch)
        finally:
            self.model.fast_llama = kept


def repeated(work: Callable[[], Any]) -> None:
    for _ in range(CALLS):
        work()
