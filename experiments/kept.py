"""What is kept of each cell beside its figures: a training's facts and curves, and the rank of each row's target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from rere.models.checkpoint import Checkpoint
from rere.training.loop import SCORE

OF_UPDATES = ("frac_reward_zero_std", "groups_with_hit", "invalid", "duplicate")  # kept as means over a run's updates


def training_facts(checkpoint: Checkpoint, rows: int) -> dict[str, float]:
    """The length of a training, and what its start, best and last weights had on validation rows.

    Args:
        rows: training rows, of which a length in epochs is counted.

    Returns:
        `updates`, `epochs` (prompts seen per training row, by RL and preference training; the trainer's own count, by
        fine-tuning), `best_update`, and `start_…`, `best_…` and `last_…` of NDCG@10 or the loss, where they are known;
        means of `OF_UPDATES`.
    """
    facts, curves = checkpoint.facts(), checkpoint.curves()
    names = ("updates", "best_update", f"start_{SCORE}", f"best_{SCORE}", "best_valid_loss")
    kept: dict[str, float] = {name: facts[name] for name in names if name in facts}
    for name in (SCORE, "valid_loss"):
        if values := [record[name] for record in curves if name in record]:
            kept[f"last_{name}"] = values[-1]
    prompts = facts.get("settings", {}).get("prompts")
    if prompts:
        kept["epochs"] = facts["updates"] * prompts / rows
    elif counted := [record["epoch"] for record in curves if "epoch" in record]:
        kept["epochs"] = counted[-1]
    for name in OF_UPDATES:
        if values := [record[name] for record in curves if name in record]:
            kept[name] = sum(values) / len(values)
    return kept


def beams_of(path: Path) -> int:
    """Length of the lists in a file of per-row results."""
    first = next(parquet.ParquetFile(path).iter_batches(batch_size=1, columns=["items"]))
    return len(first["items"][0])


def curves_path(path: Path) -> Path:
    """Where the curves of the cell lie whose per-row results are at `path`."""
    return path.with_suffix(".curves.parquet")


def ranks(results: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """The judged rows in the order of row_id, with a column `MODEL, seed N` of ranks (0: not in the list) per run.

    Args:
        results: per-row results by model and seed, all of the same rows.
    """
    first = next(iter(results.values()))
    table = first[["row_id", "user_id", "target", "warm"]].sort_values("row_id", ignore_index=True)
    for (model, seed), own in results.items():
        table[f"{model}, seed {seed}"] = own.set_index("row_id").loc[table["row_id"], "rank"].to_numpy(np.int16)
    return table


def runs(paths: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """A row per model and seed: what its training took and gave, from the files beside its per-row results."""
    records: list[dict[str, Any]] = []
    for (model, seed), path in paths.items():
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        git = facts["provenance"]["git"] or {}
        taken = {"seconds": facts["seconds"], "tokens": facts["tokens"], "commit": git.get("commit")}
        records.append({"model": model, "seed": seed, **taken, **facts["facts"]})
    return pd.DataFrame(records)


def curves(paths: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """A row per model, seed and record of its training; empty where no training kept any."""
    found = [
        pd.read_parquet(curves_path(path)).assign(model=model, seed=seed)
        for (model, seed), path in paths.items()
        if curves_path(path).exists()
    ]
    if not found:
        return pd.DataFrame()
    table = pd.concat(found, ignore_index=True)
    return table[["model", "seed", *table.columns.drop(["model", "seed"])]]
