"""Rows ranked per second: prompts of which one begins another, each by itself and run together.

    python -m benchmarks.ranking [--quick] [--backbone smollm2] [--json PATH]

Two sets of rows of MovieLens-100K's users: the last row of each, as a leave-one-out evaluation has them, and the first
rows of each, whose histories fit into the window whole. Prompts by themselves are in batches of like length, too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.common import arguments, interleaved, prepare, save, show, subject
from rere.config.data import SplitConfig
from rere.config.decoding import SearchSettings
from rere.config.ingest import IngestConfig
from rere.data.ingest import ingest
from rere.data.sequences import indexed_rows
from rere.data.windows import make_windows
from rere.decoding.beam import beam_search
from rere.models.shared_prefill import chains
from rere.recommenders.base import Ranking
from rere.recommenders.generative import GenerativeRecommender, rank_in_batches

HISTORY = 10


def alone(recommender: GenerativeRecommender, histories: list[list[int]], k: int) -> Ranking:
    """Each prompt run by itself."""
    prompts = [recommender.catalog.prompt(history) for history in histories]

    def search(rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        own = [prompts[row] for row in rows]
        found = beam_search(recommender.model, recommender.trie, own, SearchSettings(beams=k, normalisation="trie"))
        return found.items, found.scores

    return rank_in_batches("alone", prompts, k, recommender.batch_prompts, search)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=("nano", "smollm2"), default="nano")
    parser.add_argument("--users", type=int, default=None, help="default 64, quick 4")
    options = parser.parse_args()
    prepare(options)
    users = options.users or (4 if options.quick else 64)
    model, catalog = subject(options.backbone, options.dtype)
    windows = make_windows(ingest(IngestConfig(k_core=1)), SplitConfig(history_items=HISTORY))
    table = windows.table[windows.table["user_id"].isin(windows.table["user_id"].unique()[:users])]
    sets = {"last rows": table.groupby("user_id").tail(1), "first rows": table.groupby("user_id").head(HISTORY)}
    recommender = GenerativeRecommender("shared", model, catalog, 20, "trie")

    figures: dict[str, Any] = {}
    shown = []
    for name, rows in sets.items():
        histories, _ = indexed_rows(rows, catalog.index_of)
        ways = {
            "alone": partial(alone, recommender, histories, 20),
            "shared": partial(recommender.recommend, histories, 20),
        }
        measured = interleaved(ways, options.repeats)
        prompts = [catalog.prompt(history) for history in histories]
        run = sum(len(prompts[chain[-1]]) for chain in chains(prompts))
        figures[name] = {
            "rows": len(rows),
            "prompt_tokens": {"alone": sum(map(len, prompts)), "shared": run},
            "rows_per_second": {way: len(rows) / own.seconds for way, own in measured.items()},
            "peak_memory_mib": {way: own.peak_mib for way, own in measured.items()},
        }
        own = figures[name]
        shown += [
            [name, way, *(own[key][way] for key in ("prompt_tokens", "rows_per_second", "peak_memory_mib"))]
            for way in ways
        ]
    show(
        f"Ranking, {options.backbone}, {users} users, 20 beams; median of {options.repeats}",
        ["rows", "way", "prompt tokens", "rows/s", "peak MiB"],
        shown,
    )
    save(options.json, figures)


if __name__ == "__main__":
    main()
