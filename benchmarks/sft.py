"""SFT by sequence against one row per window: targets per second, and distance to the floor.

    python -m benchmarks.sft [--quick] [--backbone smollm2] [--quality] [--json PATH]

Both ways train the same targets of the same users: forward, loss at the targets, backward. The floor is a bare
forward and backward of the sequence rows' tokens without padding, with plain causal attention. `--quality` also
trains both ways to the end on MovieLens-100K (nano) and compares test metrics on the same rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from benchmarks.common import NANO, arguments, interleaved, prepare, save, show, subject
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.ingest import IngestConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import Windows
from rere.data.ingest import ingest
from rere.data.windows import make_windows
from rere.evaluation.bootstrap import paired_bootstrap
from rere.evaluation.evaluator import evaluate
from rere.evaluation.metrics import ndcg
from rere.models.backbone import load_model
from rere.recommenders.generative import GenerativeRecommender
from rere.training.rows import IGNORED, Collator, sequence_rows, window_rows
from rere.training.sft.train import train_sft

Rows = list[dict[str, list[int]]]


def batches(rows: Rows, collate: Collator, tokens: int) -> list[dict[str, torch.Tensor]]:
    """Rows of like length, together about `tokens` tokens per batch."""
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    found, part = [], []
    for row in ordered:
        part.append(row)
        if len(part) * len(row["input_ids"]) >= tokens:
            found.append(collate(part))
            part = []
    return [*found, collate(part)] if part else found


def train_pass(model: nn.Module, data: Sequence[dict[str, torch.Tensor]]) -> None:
    """Forward and backward of every batch; logits at the trained positions only."""
    body, head = model.get_decoder(), model.get_output_embeddings()  # type: ignore[operator]
    for batch in data:
        batch = {name: tensor.to(head.weight.device) for name, tensor in batch.items()}
        hidden = body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        labels = batch["labels"][:, 1:]
        real = labels != IGNORED
        functional.cross_entropy(head(hidden[:, :-1][real]).float(), labels[real]).backward()
        model.zero_grad(set_to_none=True)


def floor_pass(model: nn.Module, rows: Rows, tokens: int) -> None:
    """Bare forward and backward of as many tokens and trained positions as the sequence rows have."""
    body, head = model.get_decoder(), model.get_output_embeddings()  # type: ignore[operator]
    total = sum(len(row["input_ids"]) for row in rows)
    trained = sum(label != IGNORED for row in rows for label in row["labels"])
    length = round(total / len(rows))
    for start in range(0, total, tokens):
        count = max(1, min(tokens, total - start) // length)
        ids = torch.arange(count * length, device=head.weight.device).view(count, length) % 250 + 3
        hidden = body(input_ids=ids).last_hidden_state.flatten(0, 1)
        picked = hidden[: max(1, round(len(hidden) * trained / total))]
        functional.cross_entropy(head(picked).float(), picked.new_zeros(len(picked), dtype=torch.int64)).backward()
        model.zero_grad(set_to_none=True)


def nano(history_items: int) -> tuple[nn.Module, CatalogIndex, Windows]:
    dataset = ingest(IngestConfig())
    catalog = build_index(dataset.items, IndexConfig(backbone=NANO, code=PrefixCode()))
    model = load_model(NANO, len(catalog.tokenizer), seed=0)
    return model, catalog, make_windows(dataset, SplitConfig(history_items=history_items))


def quality(
    catalog: CatalogIndex, windows: Windows, epochs: int, seeds: Sequence[int], every: int
) -> list[dict[str, Any]]:
    """Train both ways to the end on every n-th user; NDCG@10 on all test rows with its interval, one row per seed."""
    table = windows.table
    users = sorted(set(table["user_id"]))[::every]
    windows = replace(
        windows, table=table[table["user_id"].isin(users) | (table["period"] != "train")].reset_index(drop=True)
    )
    records = []
    for seed in seeds:
        results, losses = {}, {}
        for rows in ("window", "sequence"):
            with tempfile.TemporaryDirectory() as work:
                config = SFTConfig(distillation=None, normalisation="vocab", rows=rows, epochs=epochs, seed=seed)
                done = train_sft(windows, catalog, NANO, config, Path(work), log=lambda *_: None)
                losses[rows] = done.facts()["best_valid_loss"]
                recommender = GenerativeRecommender(rows, done.path, catalog)
                results[rows] = evaluate(recommender, windows.of("test"), catalog.index_of, EvaluationConfig())
        values = {rows: ndcg(table["rank"].to_numpy(), 10) for rows, table in results.items()}
        gap = paired_bootstrap(values["sequence"], values["window"], samples=2000, confidence=0.95, seed=0)
        records.append(
            {
                "seed": seed,
                **{f"ndcg@10 {rows}": float(value.mean()) for rows, value in values.items()},
                **{f"valid_loss {rows}": loss for rows, loss in losses.items()},
                "difference": [gap.mean, gap.low, gap.high],
            }
        )
    return records


def compared(
    model: nn.Module, catalog: CatalogIndex, chosen: pd.DataFrame, history_items: int, at_once: int, *, repeats: int
) -> dict[str, Any]:
    """Figures of both ways and the floor, in turn.

    Args:
        chosen: training rows, of whole users.
        at_once: tokens of a forward.
    """
    collate = Collator(0, history_items)
    rows = {
        "window": list(window_rows(chosen, catalog)),
        "sequence": list(sequence_rows(chosen, catalog, history_items, SFTConfig().sequence_items)),
    }
    data = {name: batches(part, collate, at_once) for name, part in rows.items()}
    model.train()
    ways: dict[str, Callable[[], None]] = {
        "usual": lambda: train_pass(model, data["window"]),
        "ours": lambda: train_pass(model, data["sequence"]),
        "floor": lambda: floor_pass(model, rows["sequence"], at_once),
    }
    measured = interleaved(ways, repeats)
    seconds = {name: way.seconds for name, way in measured.items()}
    memory = {name: measured[name].peak_mib for name in ("usual", "ours")}
    return {
        "seconds": seconds,
        "targets": len(chosen),
        "targets_per_second": {name: len(chosen) / seconds[name] for name in ("usual", "ours")},
        "rows": {name: len(part) for name, part in rows.items()},
        "tokens": {name: sum(len(row["input_ids"]) for row in part) for name, part in rows.items()},
        "ratio_vs_usual": seconds["usual"] / seconds["ours"],
        "ratio_to_floor": seconds["ours"] / seconds["floor"],
        "peak_memory_mib": memory,
        "peak_memory_ratio": memory["ours"] / max(memory["usual"], 1e-9),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=("nano", "smollm2"), default="nano")
    parser.add_argument("--users", type=int, default=None, help="users whose training rows are timed")
    parser.add_argument("--quality", action="store_true", help="also train both ways to the end (minutes)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--every", type=int, default=1, help="--quality trains on every so many users (default: 1, all)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    prepare(options)
    small = options.backbone == "nano"
    users = options.users or ((20 if options.quick else 150) if small else 2)
    model, catalog, windows = nano(10)
    if not small:
        tree, catalog = subject("smollm2", options.dtype)
        model = tree.model
        model.set_attn_implementation("sdpa")
    train = windows.of("train")
    chosen = train[train["user_id"].isin(train["user_id"].unique()[:users])]
    figures = compared(model, catalog, chosen, windows.history_items, 4096 if small else 2048, repeats=options.repeats)
    table = [
        [
            label,
            figures["rows"][kind],
            figures["tokens"][kind],
            figures["seconds"][way],
            figures["targets_per_second"][way],
            f"{figures['peak_memory_mib'][way]:.0f}",
        ]
        for label, kind, way in (("one row per window", "window", "usual"), ("by sequence", "sequence", "ours"))
    ]
    show(
        f"SFT, {options.backbone}, {len(chosen)} targets of {users} users, history of 10; median of {options.repeats}: "
        f"{figures['ratio_vs_usual']:.1f}x faster, {figures['ratio_to_floor']:.2f}x the floor",
        ["way", "rows", "tokens", "seconds", "targets/s", "peak MiB"],
        table,
    )
    if options.quality:
        if not small:
            raise SystemExit("--quality trains the nano backbone: leave --backbone out")
        figures["quality"] = quality(catalog, windows, options.epochs, options.seeds, options.every)
        table = [
            [
                r["seed"],
                r["ndcg@10 window"],
                r["ndcg@10 sequence"],
                "{:+.4f} [{:+.4f}, {:+.4f}]".format(*r["difference"]),
            ]
            for r in figures["quality"]
        ]
        show(
            f"Both ways trained to the end ({options.epochs} epochs, one user in {options.every}), "
            f"{len(windows.of('test'))} test rows",
            ["seed", "NDCG@10 window", "NDCG@10 sequence", "difference [95 %]"],
            table,
        )
    save(options.json, figures)


if __name__ == "__main__":
    main()
