"""The inputs of the gate: measurements of both models, and the data that they were evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rere.evaluation.better_rival import OverItemModel


@dataclass(frozen=True)
class CandidateMetrics:
    """The gate's measurements of one model.

    results: rows of `evaluate`
    latency_ms: time of a single request as it is served; None if no request could be made
    mebibytes: size of its files
    newest: time of its newest training interaction, seconds since 1970; None if it isn't recorded
    items: number of items of its catalogue
    """

    results: pd.DataFrame
    latency_ms: float | None
    mebibytes: float
    newest: int | None
    items: int


@dataclass(frozen=True)
class Anchor:
    """The best champion on record, to which the total loss is measured: its version, and its results on these rows."""

    version: str
    results: pd.DataFrame


@dataclass(frozen=True)
class GateContext:
    """The data and the records that both models are judged by.

    popularity: results of the popularity baseline on the same rows
    training_counts: (I,) training interactions per item
    segments: as from `rere.evaluation.segments.segments`
    warnings: names of the data validation's and the split validation's checks that warned
    faulty: check of the split -> share of the prediction rows that fail it; empty if all rows are sound
    now: seconds since 1970
    anchor: None if the champion is the anchor, or there is none
    challengers: how many challengers the present champion has had, including this one
    stand_in: without a champion, results whose difference to the challenger's shows how much two models differ row by
        row, e.g. those of the model that RL began with
    item_model: the challenger against the best item model of the run; None if the run has none
    """

    popularity: pd.DataFrame
    training_counts: np.ndarray
    segments: pd.DataFrame
    warnings: tuple[str, ...]
    faulty: Mapping[str, float]
    now: float
    anchor: Anchor | None = None
    challengers: int = 1
    stand_in: pd.DataFrame | None = None
    item_model: OverItemModel | None = None
