"""Interactions as sequences of item indices, one a user: what the baselines are fitted on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rere.data.dataset import Dataset, Period
from rere.errors import RereError


def training_sequences(dataset: Dataset, period: Period = "train") -> list[np.ndarray]:
    """Each user's interactions of one period, in order of time.

    Returns:
        One (n,) int64 array of item indices (row numbers of `dataset.items`) for each user with at least one
        interaction in the period; users in order of first appearance.

    Raises:
        RereError: an interaction with an item that the catalogue lacks.
    """
    rows = dataset.interactions[dataset.interactions["period"] == period]
    items = pd.Index(dataset.items["item_id"]).get_indexer(rows["item_id"]).astype(np.int64)
    if (items < 0).any():
        unknown = rows.loc[items < 0, "item_id"].unique()[:5].tolist()
        raise RereError("interactions with items of the catalogue", f"unknown item ids {unknown}", "mend the data")
    return [items[places] for places in rows.groupby("user_id", sort=False).indices.values()]
