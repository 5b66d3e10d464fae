"""Fitting the item models that a run asks for."""

from __future__ import annotations

from dataclasses import replace

from rere.config.recommenders import ItemModelsConfig
from rere.config.variants import Variant
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import model_type


def fit_item_models(data: FitData, config: ItemModelsConfig) -> ItemModels:
    """Fit the rivals and the teacher, and what they are made of, each once; returns the rivals and the teacher."""
    settings = {one.type: one for one in asked(config)}
    fitted: dict[str, ItemModel] = {}
    for kind in settings:
        _fit(kind, data, settings, fitted)
    return ItemModels({kind: fitted[kind] for kind in settings})


def _fit(kind: str, data: FitData, settings: dict[str, Variant], fitted: dict[str, ItemModel]) -> None:
    """Fit a kind, after those that it needs, unless that was done before."""
    if kind in fitted:
        return
    model = model_type(kind)
    own = settings[kind] if kind in settings else model.config_type.model_validate({})
    for needed in model.needs(own):
        _fit(needed, data, settings, fitted)
    fitted[kind] = model.fit(replace(data, fitted=fitted), own)


def asked(config: ItemModelsConfig) -> tuple[Variant, ...]:
    """Settings of every model that is wanted: the rivals', and the teacher's where it is none of them."""
    if config.teacher == "best" or any(rival.type == config.teacher for rival in config.rivals):
        return config.rivals
    return (*config.rivals, model_type(config.teacher).config_type.model_validate({}))
