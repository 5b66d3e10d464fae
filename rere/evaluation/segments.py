"""Kinds of users and items that an average hides, and how two models differ on each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rere.config.promotion import GateConfig
from rere.data.dataset import Dataset
from rere.evaluation.bootstrap import Estimate, paired_bootstrap
from rere.evaluation.breakdown import FEW, is_short
from rere.evaluation.evaluator import paired_values


def segments(
    rows: pd.DataFrame, user_counts: dict[str, int], item_counts: dict[str, int], config: GateConfig
) -> pd.DataFrame:
    """Which rows belong to which segment; a row may belong to several.

    Args:
        rows: as `Windows.of("test")`.
        user_counts, item_counts: training interactions, by id; those without any may be left out.

    Returns:
        Indexed by row_id, one bool column per segment.
    """
    activity = rows["user_id"].map(user_counts).fillna(0).to_numpy()
    popularity = rows["target"].map(item_counts).fillna(0).to_numpy()
    few = is_short(rows).to_numpy()
    heavy = max(math.ceil(np.quantile(activity, 1 - config.heavy_user_share)), config.new_user_interactions + 1)
    return pd.DataFrame(
        {
            FEW: few,
            f"new users (at most {config.new_user_interactions} interactions)": activity
            <= config.new_user_interactions,
            f"heavy users (at least {heavy} interactions)": activity >= heavy,
            f"cold items (at most {config.cold_item_interactions} interactions)": popularity
            <= config.cold_item_interactions,
        },
        index=pd.Index(rows["row_id"].to_numpy(), name="row_id"),
    )


def segments_of(dataset: Dataset, rows: pd.DataFrame, config: GateConfig) -> pd.DataFrame:
    """`segments` of the rows, counted over the data set's training period."""
    events = dataset.interactions[dataset.interactions["period"] == "train"]
    return segments(rows, _counted(events["user_id"]), _counted(events["item_id"]), config)


def _counted(ids: pd.Series) -> dict[str, int]:
    return {str(key): int(count) for key, count in ids.value_counts().items()}


@dataclass(frozen=True)
class SegmentGain:
    """A metric on one segment: both models' means and the paired difference; no estimate for an empty segment."""

    name: str
    rows: int
    challenger: float
    champion: float
    gain: Estimate | None


def segment_gains(
    challenger: pd.DataFrame, champion: pd.DataFrame, marked: pd.DataFrame, config: GateConfig
) -> list[SegmentGain]:
    """The gate's metric on each segment, at a confidence that the segments share (Bonferroni).

    Args:
        challenger, champion: results of `evaluate` on the same rows.
        marked: as from `segments`, for these rows.
    """
    values, others, rows = paired_values(challenger, champion, config.metric)
    users, found = rows["user_id"].to_numpy(), []
    confidence = shared_confidence(marked, config)
    for name, column in marked.loc[rows["row_id"]].items():
        inside = column.to_numpy(bool)
        if not inside.any():
            found.append(SegmentGain(str(name), 0, float("nan"), float("nan"), None))
            continue
        mine, other = values[inside], others[inside]
        gain = paired_bootstrap(mine, other, config.bootstrap_samples, confidence, config.seed, units=users[inside])
        found.append(SegmentGain(str(name), int(inside.sum()), float(mine.mean()), float(other.mean()), gain))
    return found


def shared_confidence(marked: pd.DataFrame, config: GateConfig) -> float:
    """Of each segment's interval, so that all of them together have the gate's error rate."""
    return 1 - (1 - config.confidence) / max(1, marked.shape[1])
