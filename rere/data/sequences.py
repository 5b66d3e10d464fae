"""Items as indices: each user's training sequence, the rows of windows, and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rere.data.dataset import Dataset
from rere.errors import RereError


def training_sequences(dataset: Dataset) -> list[np.ndarray]:
    """The values of `user_sequences`."""
    return list(user_sequences(dataset).values())


def user_sequences(dataset: Dataset) -> dict[str, np.ndarray]:
    """Each user's training interactions, in order of time.

    Returns:
        One (n,) int64 array of item indices (row numbers of `dataset.items`) for each user with at least one
        training interaction; users in order of first appearance.

    Raises:
        RereError: an interaction with an item that the catalogue lacks.
    """
    rows = dataset.interactions[dataset.interactions["period"] == "train"]
    items = pd.Index(dataset.items["item_id"]).get_indexer(rows["item_id"]).astype(np.int64)
    if (items < 0).any():
        unknown = rows.loc[items < 0, "item_id"].unique()[:5].tolist()
        raise RereError("interactions with items of the catalogue", f"unknown item ids {unknown}", "mend the data")
    return {str(user): items[positions] for user, positions in rows.groupby("user_id", sort=False).indices.items()}


def item_counts(sequences: Sequence[np.ndarray], items: int) -> np.ndarray:
    """(I,) int64: how often each of the `items` items occurs in sequences of item indices."""
    return np.bincount(np.concatenate([np.empty(0, dtype=np.int64), *sequences]), minlength=items)


def training_counts(dataset: Dataset) -> np.ndarray:
    """(I,) int64: training interactions per item."""
    return item_counts(training_sequences(dataset), len(dataset.items))


def indexed_rows(rows: pd.DataFrame, index_of: Mapping[str, int]) -> tuple[list[list[int]], np.ndarray]:
    """Histories and targets as item indices.

    Args:
        rows: R rows as `Windows.of` gives them.
        index_of: item id -> item index.

    Returns:
        R histories, oldest item first; (R,) int64 targets.

    Raises:
        RereError: an item that the catalogue lacks.
    """
    try:
        histories = [[index_of[item] for item in history] for history in rows["history"]]
        targets = [index_of[item] for item in rows["target"]]
    except KeyError as error:
        raise RereError(
            "rows with items of the catalogue", f"the unknown item id {error}", "split and index the same data set"
        ) from None
    return histories, np.array(targets, dtype=np.int64)


def newest_interaction(dataset: Dataset) -> int | None:
    """Time of the newest training interaction, seconds since 1970; None for data without times."""
    times = dataset.interactions.loc[dataset.interactions["period"] == "train", "timestamp"]
    newest = int(times.max()) if len(times) else 0
    return newest if newest > 0 else None
