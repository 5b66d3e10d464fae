"""Rows on which a stage is measured at every validation, to tell what it learns from what it learns by heart.

seen    training rows of the updates before the first validation: from then on the stage has seen each of them
unseen  training rows that none of the planned updates visits: only earlier stages saw them. None are left where the
        updates visit every row; with `rl.rows: newest` most are older than what RL sees, with `kept_users` most are of
        the users that fine-tuning saw
valid   the validation rows that the stage is judged on anyway

They are drawn once, by the seed. Histories are as they are, also where a stage alters those that it trains on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rere.catalog.index import CatalogIndex
from rere.config.training import UpdateSettings
from rere.data.dataset import Windows
from rere.data.sequences import indexed_rows
from rere.evaluation.metrics import ndcg, target_ranks
from rere.evaluation.power import clustered_error
from rere.recommenders.base import Recommender

VALID = "valid"
K = 10


@dataclass(frozen=True)
class Probe:
    """R rows: their histories as item indices, oldest first; (R,) targets and (R,) user ids."""

    histories: list[list[int]]
    targets: np.ndarray
    users: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, catalog: CatalogIndex) -> Probe:
        histories, targets = indexed_rows(rows, catalog.index_of)
        return cls(histories, targets, rows["user_id"].to_numpy(dtype=object))


class Probes:
    """Probes by name, with what the start reached on them.

    start_ranks: name -> (R,) ranks of the targets before the first update, 0 where not among the first 10; empty until
        the first measurement. A resumed run needs them.
    """

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self.probes = dict(probes)
        self.start_ranks: dict[str, list[int]] = {}

    def measure(self, recommender: Recommender) -> dict[str, float]:
        """NDCG@10 of each probe (`seen_ndcg@10`, ...), and after the first measurement the standard error of its gain.

        `seen_gain_error` is that of the mean over rows of NDCG@10 now less at the start, where users are what another
        draw would exchange. Left out for rows of a single user.
        """
        record = {}
        for name, probe in self.probes.items():
            ranks = target_ranks(recommender.recommend(probe.histories, K).items, probe.targets)
            values = ndcg(ranks, K)
            record[f"{name}_ndcg@{K}"] = float(values.mean())
            if name not in self.start_ranks:
                self.start_ranks[name] = ranks.tolist()
            elif len(np.unique(probe.users)) > 1:
                change = values - ndcg(np.array(self.start_ranks[name]), K)
                record[f"{name}_gain_error"] = clustered_error(change, probe.users)
        return record


def training_probes(
    windows: Windows, training: Windows, planned: Sequence[np.ndarray], catalog: CatalogIndex, config: UpdateSettings
) -> dict[str, Probe]:
    """The probes of training rows, `config.probe_rows` of each at most; those without a row are left out.

    Args:
        windows: all of them.
        training: those whose training rows are the stage's prompts.
        planned: per update, indices of its rows among `training`'s training rows.
    """
    if not config.probe_rows:
        return {}
    prompts, every = training.of("train"), windows.of("train")
    first, visited = (np.unique(np.concatenate(rows)) for rows in (planned[: config.validate_every], planned))
    unseen = np.flatnonzero(~every["row_id"].isin(prompts["row_id"].to_numpy()[visited]).to_numpy())
    found = {"seen": prompts.iloc[_drawn(first, config)], "unseen": every.iloc[_drawn(unseen, config)]}
    return {name: Probe.of(rows, catalog) for name, rows in found.items() if len(rows)}


def _drawn(rows: np.ndarray, config: UpdateSettings) -> np.ndarray:
    return np.random.default_rng(config.seed).permutation(rows)[: config.probe_rows]
