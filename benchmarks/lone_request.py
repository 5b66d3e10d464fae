"""A lone request: the whole search, the bare forward of its prompt, and what the rest is.

    python -m benchmarks.lone_request [--quick] [--backbone smollm2] [--profile] [--json PATH]

By code (an item as one token of its own, or as its title's tokens) and by the precision of the weights. `same items`
is the share of requests whose list is that of float32. `--profile` names the operations that take longest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.common import NANO, arguments, interleaved, prepare, save, show
from benchmarks.decoding import bare_forward
from rere.catalog.index import build_index
from rere.config.backbone import Backbone, GGUFModel
from rere.config.catalog import IndexConfig
from rere.config.decoding import InferencePrecision, SearchSettings
from rere.config.ingest import IngestConfig
from rere.data.ingest import ingest
from rere.models.backbone import load_model
from rere.models.inference import for_inference
from rere.models.item_tokens import embed_items
from rere.models.tree_attention import TreeModel
from rere.serving.engine.deployment import Query
from rere.serving.engine.generative import GenerativeDeployment

HISTORY, K, BEAMS, REQUESTS = 10, 10, 20, 20
PRECISIONS: tuple[InferencePrecision, ...] = ("float32", "bfloat16", "int8")


def queries(items: int, count: int, seed: int) -> list[Query]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Query(tuple(torch.randint(items, (HISTORY,), generator=generator).tolist()), K, frozenset())
        for _ in range(count)
    ]


def answer(served: GenerativeDeployment, asked: list[Query]) -> list[list[int]]:
    """The lists of requests, one after the other."""
    return [found[0].items for found in map(served.rank, [[query] for query in asked]) if found is not None]


def bare_forwards(model: TreeModel, tokens: int, count: int) -> None:
    for _ in range(count):
        bare_forward(model, 1, tokens, 1)


def longest_operations(served: GenerativeDeployment, asked: list[Query]) -> list[dict[str, Any]]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        answer(served, asked)
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)[:12]
    return [{"name": e.key, "ms": e.self_cpu_time_total / 1000 / len(asked), "calls": e.count} for e in events]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=("nano", "smollm2"), default="nano")
    parser.add_argument("--profile", action="store_true", help="name the operations that take longest")
    options = parser.parse_args()
    prepare(options)
    count = 2 if options.quick else REQUESTS
    backbone: Backbone = GGUFModel() if options.backbone == "smollm2" else NANO
    items = ingest(IngestConfig()).items
    figures: dict[str, Any] = {}
    rows: list[list[Any]] = []
    for code in ("item", "title"):
        catalog = build_index(items, IndexConfig.model_validate({"backbone": backbone, "code": code}))
        asked = queries(len(catalog.items), count, options.seed)
        exact: list[list[int]] = []
        for precision in PRECISIONS:
            base = load_model(backbone, len(catalog.tokenizer), seed=0).eval()
            embed_items(base, catalog, first=0)
            model = TreeModel(for_inference(base, precision))
            search = SearchSettings(beams=BEAMS, normalisation="trie", lookahead_tokens=64)
            served = GenerativeDeployment("1", model, catalog, HISTORY, search)
            prompt = len(catalog.prompt(asked[0].history))
            lists = answer(served, asked)
            exact = exact or lists
            ways: dict[str, Callable[[], Any]] = {
                "request": partial(answer, served, asked),
                "bare forward": partial(bare_forwards, model, prompt, count),
            }
            measured = interleaved(ways, options.repeats)
            ms = {way: 1000 * run.seconds / count for way, run in measured.items()}
            same = sum(a == b for a, b in zip(lists, exact, strict=True)) / count
            own = figures[f"{code}, {precision}"] = {
                "ms": ms,
                "to_floor": ms["request"] / ms["bare forward"],
                "same": same,
            }
            if options.profile:
                own["longest"] = longest_operations(served, asked)
                for operation in own["longest"]:
                    print(f"{code}, {precision}: {operation['name']:40} {operation['ms']:.3f} ms per request")
            rows.append([code, precision, *ms.values(), f"{own['to_floor']:.2f}x", f"{same:.0%}"])
    show(
        f"A lone request, {options.backbone}, {K} of {len(items)} items; median of {options.repeats}",
        ["code", "precision", "request, ms", "bare forward, ms", "to floor", "same items"],
        rows,
    )
    save(options.json, figures)


if __name__ == "__main__":
    main()
