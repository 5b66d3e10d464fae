"""Fitting the item models that a run asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rere.catalog.index import CatalogIndex
from rere.config.recommenders import ItemModelsConfig, SequentialConfig
from rere.config.variants import Variant
from rere.data.dataset import Dataset, Windows
from rere.data.halves import selection_half
from rere.data.sequences import indexed_rows, training_sequences
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import model_type
from rere.recommenders.side_by_side import fit_side_by_side


def fit_data(dataset: Dataset, windows: Windows, catalog: CatalogIndex) -> FitData:
    """The training period; epochs and weights are chosen on half of the validation users."""
    histories, targets = indexed_rows(selection_half(windows), catalog.index_of)
    return FitData(training_sequences(dataset), len(catalog.titles), histories, targets, titles=catalog.titles)


def fit_item_models(data: FitData, config: ItemModelsConfig, work: Path | None = None) -> ItemModels:
    """Fit the rivals and the teacher, and what they are made of, each once; returns the rivals and the teacher.

    Args:
        work: where networks are fitted side by side, by `config.launcher`; what a killed run finished there is kept.
            None: one after the other, in this process.
    """
    settings = _needed(asked(config))
    networks = {kind: own for kind, own in settings.items() if isinstance(own, SequentialConfig)}
    fitted: dict[str, ItemModel] = {}
    if work is not None and len(networks) > 1:
        fitted |= fit_side_by_side(data, networks, config, work)
    for kind, own in settings.items():
        if kind not in fitted:
            fitted[kind] = model_type(kind).fit(replace(data, fitted=fitted), own)
            if kind not in networks:  # they tell each epoch as it comes
                data.log(kind, fitted[kind].curves[-1])
    return ItemModels({one.type: fitted[one.type] for one in asked(config)})


def _needed(wanted: tuple[Variant, ...]) -> Mapping[str, Variant]:
    """By kind, the settings of what is wanted and of what that is made of, which stands before it."""
    settings = {one.type: one for one in wanted}
    ordered: dict[str, Variant] = {}

    def add(kind: str) -> None:
        model = model_type(kind)
        own = settings[kind] if kind in settings else model.config_type.model_validate({})
        for needed in model.needs(own):
            add(needed)
        ordered[kind] = own

    for kind in settings:
        add(kind)
    return ordered


def asked(config: ItemModelsConfig) -> tuple[Variant, ...]:
    """Settings of every model that is wanted: the rivals', and the teacher's where it is none of them."""
    if config.teacher == "best" or any(rival.type == config.teacher for rival in config.rivals):
        return config.rivals
    return (*config.rivals, model_type(config.teacher).config_type.model_validate({}))
