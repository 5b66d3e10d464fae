"""Data sets of the experiments."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rere.catalog.index import CatalogIndex, index_dataset
from rere.config.catalog import IndexConfig
from rere.config.data import Chronological, LeaveOneOut, SplitConfig
from rere.config.ingest import IngestConfig
from rere.data.dataset import Dataset, Period, Windows
from rere.data.halves import selection_rows
from rere.data.ingest import ingest
from rere.data.sequences import indexed_rows, training_sequences, user_sequences
from rere.data.sources.tables import Tables
from rere.data.windows import make_windows
from rere.errors import RereError
from rere.recommenders.item_model import FitData

TOYS = "RERE_TOYS_2013"  # environment variable: a directory with interactions.csv and items.csv
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "amazon_toys_2013"


@dataclass(frozen=True)
class ExperimentData:
    """A data set with its windows and what models are fitted on."""

    name: str
    dataset: Dataset
    windows: Windows

    def index(self, config: IndexConfig) -> CatalogIndex:
        return index_dataset(self.dataset, config)

    @cached_property
    def item_index(self) -> dict[str, int]:
        return {item: position for position, item in enumerate(self.dataset.items["item_id"])}

    @cached_property
    def sequences(self) -> list[np.ndarray]:
        return training_sequences(self.dataset)

    def fit_data(self) -> FitData:
        """What item models are fitted on."""
        known = user_sequences(self.dataset)
        titles = self.dataset.items["title"].tolist()
        return FitData(list(known.values()), len(titles), *self.selection_rows(), titles=titles, users=list(known))

    def rows(self, period: Period) -> tuple[list[list[int]], np.ndarray]:
        """Histories and targets of a period, as item indices."""
        return indexed_rows(self.windows.of(period), self.item_index)

    def selection_rows(self) -> tuple[list[list[int]], np.ndarray]:
        """Validation rows of the users that settings, epochs and weights are chosen on (see `rere.data.halves`)."""
        return self._valid_rows(selecting=True)

    def report_rows(self) -> tuple[list[list[int]], np.ndarray]:
        """Validation rows of the other users: what was chosen is reported on them."""
        return self._valid_rows(selecting=False)

    def _valid_rows(self, selecting: bool) -> tuple[list[list[int]], np.ndarray]:
        histories, targets = self.rows("valid")
        chosen = selection_rows(self.windows.of("valid")["user_id"].tolist())
        half = np.flatnonzero(chosen == selecting).tolist()
        return [histories[row] for row in half], targets[half]


def load(name: str) -> ExperimentData:
    """One of `NAMES`: `movielens` and `toys` (Amazon Toys 2013) are split by time, `movielens-loo` leaves one out, and
    `movielens-quarter` is every fourth user of `movielens`, all their rows, over the same catalogue."""
    dataset = ingest(_sources()[name])
    windows = make_windows(dataset, SplitConfig())
    if name == "movielens-quarter":
        dataset = replace(dataset, interactions=of_users(dataset.interactions, 4))
        windows = replace(windows, table=of_users(windows.table, 4))
    return ExperimentData(name, dataset, windows)


def of_users(table: pd.DataFrame, every: int) -> pd.DataFrame:
    """The rows of every so-manieth user of a table."""
    users = sorted(set(table["user_id"]))[::every]
    return table[table["user_id"].isin(users)].reset_index(drop=True)


NAMES = ("movielens", "movielens-loo", "movielens-quarter", "toys")


def _sources() -> dict[str, IngestConfig]:
    toys = Path(os.environ.get(TOYS, BESIDE))
    return {
        "movielens": IngestConfig(split=Chronological()),
        "movielens-quarter": IngestConfig(split=Chronological()),
        "movielens-loo": IngestConfig(split=LeaveOneOut()),
        "toys": IngestConfig(
            source=Tables(interactions=toys / "interactions.csv", items=toys / "items.csv"),
            split=Chronological(),
            k_core=1,  # the file is a 5-core already; a second filter on the training period would drop a third
        ),
    }


def available(name: str) -> bool:
    """Whether the data set can be read here."""
    source = _sources()[name].source
    return not isinstance(source, Tables) or Path(source.interactions).exists()


def check(name: str) -> None:
    """Raises RereError for a data set that isn't there."""
    if not available(name):
        raise RereError(f"interactions.csv and items.csv for {name}", "none", f"set {TOYS} to their directory")
