"""The registry of item models: one line each, which names its class in the file that holds it.

A file is imported only when its kind is used, so that a step that uses one kind doesn't depend on the code of the
others.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from rere.config.variants import Variant
from rere.errors import RereError
from rere.recommenders.item_model import ItemModel

ITEM_MODELS = {
    "sasrec": "rere.recommenders.sequential.sasrec:SASRec",
    "gru4rec": "rere.recommenders.sequential.gru4rec:GRU4Rec",
    "caser": "rere.recommenders.sequential.caser:Caser",
    "ease": "rere.recommenders.ease:EASE",
    "item_knn": "rere.recommenders.item_knn:ItemKNN",
    "title_knn": "rere.recommenders.title_knn:TitleKNN",
    "co_occurrence": "rere.recommenders.co_occurrence:CoOccurrence",
    "ensemble": "rere.recommenders.ensemble:Ensemble",
}

MADE = {"cross_fitted": "rere.recommenders.cross_fitted:CrossFitted"}  # of others; no setting names these


def model_type(kind: str) -> type[ItemModel]:
    """The class of a kind's models; RereError for a kind that isn't registered."""
    if kind not in (known := ITEM_MODELS | MADE):
        raise RereError(f"an item model ({', '.join(ITEM_MODELS)})", repr(kind), "correct its name")
    module, name = known[kind].split(":")
    found: type[ItemModel] = getattr(importlib.import_module(module), name)
    return found


def settings_types() -> Iterator[type[Variant]]:
    """The settings of every item model."""
    return (model_type(kind).config_type for kind in ITEM_MODELS)


def modules() -> tuple[str, ...]:
    """The modules that the registry names."""
    return tuple(path.split(":")[0] for path in ITEM_MODELS.values())
