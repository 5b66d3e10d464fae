"""Fitting the item models that a run asks for."""

from __future__ import annotations

from rere.config.recommenders import ItemModelsConfig
from rere.config.variants import Variant
from rere.recommenders.item_model import FitData
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import model_type


def fit_item_models(data: FitData, config: ItemModelsConfig) -> ItemModels:
    """Fit the rivals and the teacher, each once."""
    return ItemModels({one.type: model_type(one.type).fit(data, one) for one in asked(config)})


def asked(config: ItemModelsConfig) -> tuple[Variant, ...]:
    """Settings of every model that is needed: the rivals', and the teacher's where it is none of them."""
    if config.teacher == "best" or any(rival.type == config.teacher for rival in config.rivals):
        return config.rivals
    return (*config.rivals, model_type(config.teacher).config_type.model_validate({}))
