"""The trie at scale: time and memory to build it, and what masking costs in a decoding step.

    python -m benchmarks.trie [--quick] [--json PATH]

Catalogues are synthetic: 6 to 14 tokens per item, drawn from a Zipf law over the vocabulary of SmolLM2, made
distinct by construction. Masking is everything that a search does outside the model's forward, its head, the
softmax's normaliser and the growth of the key/value store: reading the children's scores (one gather), choosing the
best 2K, moving the beams.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks.common import arguments, prepare, save, show, subject
from rere.catalog.trie import TokenTrie, build_trie
from rere.config.decoding import SearchSettings
from rere.decoding.beam import BeamSearch
from rere.models import child_log_probs as edges
from rere.models.packed_batch import KVCache
from rere.models.tree_attention import TreeModel

VOCABULARY, END = 49_000, 198


def synthetic_items(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(flat tokens, offsets) of `count` distinct items; the last two tokens before the end are its number."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(6, 15, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = generator.zipf(1.3, offsets[-1]) % (VOCABULARY - 200) + 200
    flat[offsets[1:] - 3] = 200 + np.arange(count) // 40_000
    flat[offsets[1:] - 2] = 200 + np.arange(count) % 40_000
    flat[offsets[1:] - 1] = END
    return flat.astype(np.int64), offsets


def build_cost(count: int, seed: int) -> dict[str, float]:
    """Seconds and MiB of one build, in a process of its own (its peak less what was held before)."""
    script = (
        "import time, json\n"
        "from benchmarks.common import held_mib, peak_mib\n"
        "from benchmarks.trie import synthetic_items\n"
        "from rere.catalog.trie import build_trie\n"
        f"items = synthetic_items({count}, {seed})\n"
        "before = held_mib(); start = time.perf_counter(); trie = build_trie(items)\n"
        "print(json.dumps([time.perf_counter() - start, peak_mib() - before, peak_mib(), trie.nodes]))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    seconds, added, peak, nodes = json.loads(out)
    return {"build_seconds": seconds, "build_mib": added, "process_peak_mib": peak, "nodes": nodes}


class Clock:
    """Seconds spent in the model's forward, its head, the softmax's normaliser and a growing key/value store."""

    def __init__(self, model: TreeModel) -> None:
        self.model, self.seconds = model, 0.0
        self._hidden, self._head, self._normaliser = model.hidden, model.head.forward, torch.log_softmax
        self._reserve = KVCache.reserve

    def __enter__(self) -> Clock:
        def timed(work: Any) -> Any:
            def run(*args: Any, **options: Any) -> Any:
                started = time.perf_counter()
                out = work(*args, **options)
                self.seconds += time.perf_counter() - started
                return out

            return run

        self.model.hidden = timed(self._hidden)  # type: ignore[method-assign]
        self.model.head.forward = timed(self._head)  # type: ignore[method-assign]
        edges.log_softmax = timed(self._normaliser)  # type: ignore[attr-defined]
        KVCache.reserve = timed(self._reserve)  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: Any) -> None:
        self.model.hidden, self.model.head.forward = self._hidden, self._head  # type: ignore[method-assign]
        edges.log_softmax = self._normaliser  # type: ignore[attr-defined]
        KVCache.reserve = self._reserve  # type: ignore[method-assign]


@torch.no_grad()
def mask_cost(
    model: TreeModel, trie: TokenTrie, prompts: list[list[int]], beams: int, repeats: int
) -> dict[str, float]:
    """Median milliseconds of masking per step, and its share of the step, over whole searches."""
    outside, inside, steps = [], [], 0
    for _ in range(repeats + 1):
        search = BeamSearch(model, trie, prompts, SearchSettings(beams=beams, normalisation="vocab"))
        steps, going, spent, forward = 0, True, 0.0, 0.0
        while going:
            with Clock(model) as clock:
                started = time.perf_counter()
                going = search.step()
                spent += time.perf_counter() - started
                forward += clock.seconds
            steps += 1
        outside.append(1000 * (spent - forward) / steps)
        inside.append(1000 * spent / steps)
    masking, step = float(np.median(outside[1:])), float(np.median(inside[1:]))
    return {"mask_ms": masking, "step_ms": step, "share": masking / step, "steps": steps}


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    prepare(options)
    sizes = (1_000, 10_000) if options.quick else (1_000, 10_000, 100_000, 1_000_000)
    model, _ = subject("smollm2", options.dtype)
    generator = torch.Generator().manual_seed(options.seed)
    prompts = [torch.randint(200, 40_000, (50,), generator=generator).tolist() for _ in range(4)]
    rows, figures = [], []
    for size in sizes:
        record = {"items": size, **build_cost(size, options.seed)}
        trie = build_trie(synthetic_items(size, options.seed)).to(model.device)
        record |= mask_cost(model, trie, prompts, 16, options.repeats)
        figures.append(record)
        rows.append(
            [
                f"{size:,}",
                record["build_seconds"],
                f"{record['build_mib']:.0f}",
                f"{record['mask_ms']:.2f}",
                f"{record['step_ms']:.0f}",
                f"{100 * record['share']:.2f} %",
            ]
        )
    show(
        "Trie by catalogue size; masking of 4 prompts × 16 beams, SmolLM2-135M",
        ["items", "build s", "build MiB", "masking ms per step", "step ms", "share"],
        rows,
    )
    save(options.json, {"sizes": figures})


if __name__ == "__main__":
    main()
