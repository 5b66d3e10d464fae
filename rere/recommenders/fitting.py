"""Fitting the item models that a run asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rere.config.recommenders import ItemModelsConfig
from rere.recommenders.item_models import ItemModels
from rere.recommenders.sequential.caser import fit_caser
from rere.recommenders.sequential.gru4rec import fit_gru4rec
from rere.recommenders.sequential.sasrec import fit_sasrec

FITS: dict[str, Any] = {"sasrec": fit_sasrec, "gru4rec": fit_gru4rec, "caser": fit_caser}


def fit_item_models(
    sequences: Sequence[np.ndarray],
    items: int,
    valid_histories: Sequence[Sequence[int]],
    valid_targets: Sequence[int],
    config: ItemModelsConfig,
) -> ItemModels:
    """Fit the rivals and the teacher, each once: see `fit_sequential` for the arguments."""
    kinds = [kind for kind in FITS if kind in {*config.rivals, config.teacher}]
    rows = (sequences, items, valid_histories, valid_targets)
    return ItemModels({kind: FITS[kind](*rows, getattr(config, kind)) for kind in kinds})
