"""Constrained beam search: ours, the usual way, and the floor, in one process, in turn.

    python -m benchmarks.decoding [--quick] [--json PATH]

The floor is one bare forward of the tokens that any exact search must run (prompts, and the live beams of
every step), with the head at the positions whose probabilities count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks import usual
from benchmarks.common import add_sizes, arguments, interleaved, prepare, random_prompts, save, show, sizes, subject
from rere.catalog.index import CatalogIndex
from rere.config.decoding import Normalisation, SearchSettings
from rere.decoding.beam import BeamResult, beam_search
from rere.models.tree_attention import TreeModel


@torch.no_grad()
def bare_forward(model: TreeModel, prompts: int, tokens: int, heads: int) -> None:
    """Plain causal forward of about `tokens` tokens in `prompts` equal rows, and `heads` rows of the head."""
    ids = torch.arange(prompts * (tokens // prompts), device=model.device).view(prompts, -1) % 1000 + 5
    hidden = model.body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    torch.logsumexp(model.head(hidden[:heads]).float(), -1)


def compared(
    model: TreeModel, catalog: CatalogIndex, prompts: list[list[int]], beams: int, mode: Normalisation, *, repeats: int
) -> dict[str, Any]:
    """Figures of the usual way, ours and the floor, in turn, under one normalisation."""
    trie, count = catalog.trie.to(model.device), len(prompts)
    found: dict[str, BeamResult] = {}
    theirs: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = beam_search(model, trie, prompts, SearchSettings(beams=beams, normalisation=mode))

    def usual_way() -> None:
        theirs["groups"], theirs["scores"] = usual.beam_search(model.model, catalog.item_tokens, prompts, beams, mode)

    ours()
    required = found["ours"].required
    heads = count + (required - sum(map(len, prompts))) * (mode == "vocab")
    ways: dict[str, Callable[[], None]] = {
        "usual": usual_way,
        "ours": ours,
        "floor": lambda: bare_forward(model, count, required, heads),
    }
    measured = interleaved(ways, repeats)
    seconds = {name: way.seconds for name, way in measured.items()}
    memory = {name: measured[name].peak_mib for name in ("usual", "ours")}
    lists = [[tuple(catalog.item_tokens[item]) for item in row] for row in found["ours"].items.tolist()]
    return {
        "seconds": seconds,
        "ratio_vs_usual": seconds["usual"] / seconds["ours"],
        "ratio_to_floor": seconds["ours"] / seconds["floor"],
        "peak_memory_mib": memory,
        "peak_memory_ratio": memory["ours"] / max(memory["usual"], 1e-9),
        "tokens_run": found["ours"].forwarded,
        "tokens_required": required,
        "same_items_and_order": lists == theirs["groups"],
        "largest_score_gap": float((found["ours"].scores - theirs["scores"].to(found["ours"].scores)).abs().max()),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--sweep", action="store_true", help="also: how cost grows with G and prompt length (ours)")
    options = parser.parse_args()
    prepare(options)
    count, length, beams = sizes(options, quick_prompts=2)
    model, catalog = subject(options.backbone, options.dtype)
    trie = catalog.trie.to(model.device)
    prompts = random_prompts(catalog, count, length, options.seed)

    rows: list[list[Any]] = []
    figures: dict[str, Any] = {}
    modes: tuple[Normalisation, ...] = ("vocab", "trie")
    for mode in modes:
        own = figures[mode] = compared(model, catalog, prompts, beams, mode, repeats=options.repeats)
        memory = own["peak_memory_mib"]
        rows.append(
            [
                mode,
                *(own["seconds"][name] for name in ("usual", "ours", "floor")),
                f"{own['ratio_vs_usual']:.1f}x",
                f"{own['ratio_to_floor']:.2f}x",
                f"{memory['ours']:.0f} / {memory['usual']:.0f}",
                f"{own['tokens_run']} / {own['tokens_required']}",
                f"{'same' if own['same_items_and_order'] else 'DIFFERENT'}, {own['largest_score_gap']:.1e}",
            ]
        )
    show(
        f"Beam search, {options.backbone} {options.dtype}, {count} prompts of about {length} tokens, G = {beams}, "
        f"{trie.items} items; median of {options.repeats}",
        [
            "scores",
            "usual s",
            "ours s",
            "floor s",
            "faster",
            "to floor",
            "peak MiB",
            "tokens run/req.",
            "items, score gap",
        ],
        rows,
    )
    if options.sweep:
        figures["sweep"] = sweep(model, catalog, trie, options.seed)
    save(options.json, figures)


def sweep(model: TreeModel, catalog: Any, trie: Any, seed: int) -> list[dict[str, Any]]:
    """Seconds of ours over group sizes and prompt lengths, four prompts."""
    table, records = [], []
    settings = [(210, g) for g in (4, 8, 16, 32, 64)] + [(n, 16) for n in (50, 100, 500, 1000)]
    for length, beams in settings:
        prompts = random_prompts(catalog, 4, length, seed)
        record: dict[str, Any] = {"prompt_tokens": length, "group": beams}
        for mode in ("vocab", "trie"):
            search = SearchSettings(beams=beams, normalisation=mode)
            found = beam_search(model, trie, prompts, search)
            heads = 4 + (found.required - sum(map(len, prompts)) if mode == "vocab" else 0)
            ways: dict[str, Any] = {
                "ours": lambda p=prompts, s=search: beam_search(model, trie, p, s),
                "floor": lambda r=found.required, h=heads: bare_forward(model, 4, r, h),
            }
            seconds = interleaved(ways, 1)  # after a warm-up; a table of tendencies, not of claims
            ours, floor = seconds["ours"].seconds, seconds["floor"].seconds
            record[mode] = {"seconds": ours, "ratio_to_floor": ours / floor}
        records.append(record)
        table.append(
            [length, beams]
            + [cell for mode in ("vocab", "trie") for cell in (record[mode]["seconds"], record[mode]["ratio_to_floor"])]
        )
    show(
        "How cost grows (4 prompts; one run each after a warm-up)",
        ["prompt tokens", "G", "vocab s", "to floor", "trie s", "to floor"],
        table,
    )
    return records


if __name__ == "__main__":
    main()
