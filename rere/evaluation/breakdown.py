"""Where a model is right: its metrics by the length of the history and by how often the target was seen in training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from rere.config.evaluation import EvaluationConfig
from rere.evaluation.bootstrap import bootstrap_means
from rere.evaluation.metrics import hit_rate, ndcg

K = 10
HISTORY, FREQUENCY = "items in the history", "target's training interactions"
BOUNDS = {HISTORY: (1, 3, 5, 10), FREQUENCY: (0, 1, 5, 20, 100)}  # where each part begins
FEW_ITEMS = 2
FEW, COLD = "users with one or two items", "items never seen in training"


def sparse_rows(rows: pd.DataFrame, item_counts: Mapping[str, int]) -> dict[str, frozenset[int]]:
    """The rows of which little is known, by kind: row ids of short histories, and of targets that training never saw.

    Args:
        rows: as `Windows.of("test")`.
        item_counts: training interactions by item id; those without any may be left out.
    """
    few = is_short(rows)
    cold = rows["target"].map(item_counts).fillna(0) == 0
    return {name: frozenset(rows.loc[inside, "row_id"].tolist()) for name, inside in ((FEW, few), (COLD, cold))}


def is_short(rows: pd.DataFrame) -> pd.Series:
    """(R,) bool: whose history has one or two items."""
    return rows["history"].map(len) <= FEW_ITEMS


def breakdown(
    results: pd.DataFrame, rows: pd.DataFrame, item_counts: Mapping[str, int], config: EvaluationConfig
) -> pd.DataFrame:
    """HR@10 and NDCG@10 of every model on parts of the rows.

    Args:
        results: rows of `evaluate`, of one or more models on `rows`.
        rows: as `Windows.of("test")`.
        item_counts: training interactions by item id; those without any may be left out.
        config: of the bootstrap over users.

    Returns:
        model, by, part, n (rows), hr@10, ndcg@10, ndcg@10 low, ndcg@10 high; parts without rows are left out.
    """
    found = {
        HISTORY: rows["history"].map(len).to_numpy(),
        FREQUENCY: rows["target"].map(item_counts).fillna(0).to_numpy(),
    }
    part_of = pd.DataFrame({by: _part_names(values, BOUNDS[by]) for by, values in found.items()})
    part_of.index = pd.Index(rows["row_id"].to_numpy())
    records = []
    for model, own in results.groupby("model", sort=False):
        ranks = own["rank"].to_numpy()
        values = np.column_stack([hit_rate(ranks, K), ndcg(ranks, K)])
        for by in BOUNDS:
            names = part_of.loc[own["row_id"], by].to_numpy()
            for name in _names(BOUNDS[by]):
                inside = names == name
                if not inside.any():
                    continue
                users = own["user_id"].to_numpy()[inside]
                hits, gain = bootstrap_means(
                    values[inside], config.bootstrap_samples, config.confidence, config.seed, users
                )
                record = {"model": model, "by": by, "part": name, "n": int(inside.sum()), "hr@10": hits.mean}
                records.append(record | {"ndcg@10": gain.mean, "ndcg@10 low": gain.low, "ndcg@10 high": gain.high})
    return pd.DataFrame(records)


def _part_names(values: np.ndarray, bounds: tuple[int, ...]) -> np.ndarray:
    return np.array(_names(bounds), dtype=object)[np.searchsorted(bounds, values, side="right") - 1]


def _names(bounds: tuple[int, ...]) -> list[str]:
    """Such as 0, 1-4 and 5 or more."""
    names = [str(low) if high - low == 1 else f"{low}-{high - 1}" for low, high in itertools.pairwise(bounds)]
    return [*names, f"{bounds[-1]} or more"]
