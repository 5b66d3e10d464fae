"""The rows of which the teacher is asked: users' histories, and altered ones of the same users."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from rere.catalog.index import CatalogIndex
from rere.config.sft import Distillation, SFTConfig
from rere.recommenders.base import Recommender
from rere.recommenders.cross_fitted import folds_for
from rere.training.rows import FOLD, Row, sequence_row, stretch_rows, stretches_of
from rere.training.sft.altered import NewItems, altered_rows

SEEDS_APART = 1_000_003  # of the draws that alter each fold's histories


def taught_rows(
    train: pd.DataFrame,
    catalog: CatalogIndex,
    config: SFTConfig,
    *,
    taught: Distillation,
    history_items: int,
    new: NewItems,
    teacher: Recommender | None,
) -> Iterator[Row]:
    """Training rows with the teacher's part (`taught`), and for a cross-fitted one the fold of their users (`fold`).

    Two histories that are mixed are of users of one fold: one member has seen neither.

    Args:
        train: windows.
        new: items that may stand in altered histories.
    """
    folds = folds_for(teacher, train["user_id"])
    for fold in [0] if folds is None else np.unique(folds).tolist():
        rows = train if folds is None else train[folds == fold].reset_index(drop=True)
        mark = {} if folds is None else {FOLD: fold}
        taken = stretches_of(rows, catalog, history_items)
        real = list(stretch_rows(taken, catalog, history_items, config.sequence_items))
        yield from ({**row, "taught": taught.weight, **mark} for row in real)
        sequences = [stretch.items for stretch in taken]
        count, seed = round(taught.altered_rows * len(real)), config.seed + SEEDS_APART * fold
        altered = altered_rows(sequences, rows=count, items=config.sequence_items, new=new, seed=seed)
        yield from ({**sequence_row(items, 1, catalog), "taught": 1.0, **mark} for items in altered)
