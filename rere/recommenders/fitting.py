"""Fitting the item models that a run asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from rere.catalog.index import CatalogIndex
from rere.config.recommenders import ItemModelsConfig, SequentialConfig
from rere.config.variants import Variant
from rere.data.dataset import Dataset, Windows
from rere.data.halves import selection_half
from rere.data.sequences import indexed_rows, user_sequences
from rere.data.user_draws import fold_of
from rere.errors import RereError
from rere.recommenders.cross_fitted import CrossFitted
from rere.recommenders.item_model import FitData, ItemModel
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import model_type
from rere.recommenders.side_by_side import fit_side_by_side


def fit_data(dataset: Dataset, windows: Windows, catalog: CatalogIndex) -> FitData:
    """The training period; epochs and weights are chosen on half of the validation users."""
    histories, targets = indexed_rows(selection_half(windows), catalog.index_of)
    sequences = user_sequences(dataset)
    return FitData(
        list(sequences.values()),
        len(catalog.titles),
        histories,
        targets,
        titles=catalog.titles,
        users=list(sequences),
    )


def fit_item_models(data: FitData, config: ItemModelsConfig, work: Path | None = None) -> ItemModels:
    """Fit the rivals and the teacher, and what they are made of, each once; returns the rivals and the teacher.

    Args:
        work: where networks are fitted side by side, by `config.launcher`; what a killed run finished there is kept.
            None: one after the other, in this process.
    """
    wanted = [one.type for one in asked(config)]
    settings = _needed(wanted, config)
    networks = _networks(settings)
    fitted: dict[str, ItemModel] = {}
    if work is not None and len(networks) > 1:
        fitted |= fit_side_by_side(data, networks, config, work)
    fitted = _complete(data, settings, fitted)
    return ItemModels({kind: fitted[kind] for kind in wanted})


def fit_teacher(data: FitData, fitted: ItemModels, config: ItemModelsConfig, work: Path | None = None) -> ItemModels:
    """The one model that teaches: of those that are fitted, or, with `config.cross_fit`, its kind fitted anew per fold.

    Args:
        work: see `fit_item_models`.

    Raises:
        RereError: a fold without users.
    """
    kind = fitted.teacher(config.teacher)
    if config.cross_fit is None:
        return fitted.only(kind)
    folds = config.cross_fit.folds
    if len(filled := np.unique(fold_of(data.users, folds))) < folds:
        raise RereError(
            f"users in each of the {folds} folds of `item_models.cross_fit`",
            f"{len(data.users)} users, in {len(filled)} of them",
            "set fewer folds, or `cross_fit: null`",
        )
    settings = _needed([kind], config)
    networks, without = dict[str, Variant](), dict[str, tuple[int, int]]()
    for fold in range(folds):
        own = {_without(name, fold): network for name, network in _networks(settings).items()}
        networks, without = networks | own, without | dict.fromkeys(own, (fold, folds))
    found = dict[str, ItemModel]()
    if work is not None and networks:
        found = fit_side_by_side(data, networks, config, work, without)
    members = []
    for fold in range(folds):
        known = {name: found[_without(name, fold)] for name in settings if _without(name, fold) in found}
        members.append(_complete(data.without(fold, folds), settings, known)[kind])
    teacher = CrossFitted.of(members)
    return ItemModels({teacher.kind(): teacher})


def _without(kind: str, fold: int) -> str:
    return f"{kind}-without-{fold}"


def _networks(settings: Mapping[str, Variant]) -> dict[str, Variant]:
    return {kind: own for kind, own in settings.items() if isinstance(own, SequentialConfig)}


def _complete(data: FitData, settings: Mapping[str, Variant], fitted: Mapping[str, ItemModel]) -> dict[str, ItemModel]:
    """By kind, the models of these settings: those that are fitted, and the others fitted in this process."""
    models = dict(fitted)
    for kind, own in settings.items():
        if kind not in models:
            models[kind] = model_type(kind).fit(replace(data, fitted=models), own)
            if not isinstance(own, SequentialConfig):  # networks tell each epoch as it comes
                data.log(kind, models[kind].curves[-1])
    return models


def _needed(kinds: Iterable[str], config: ItemModelsConfig) -> Mapping[str, Variant]:
    """By kind, the settings of what is wanted and of what that is made of, which stands before it."""
    settings = {one.type: one for one in asked(config)}
    ordered: dict[str, Variant] = {}

    def add(kind: str) -> None:
        model = model_type(kind)
        own = settings[kind] if kind in settings else model.config_type.model_validate({})
        for needed in model.needs(own):
            add(needed)
        ordered[kind] = own

    for kind in kinds:
        add(kind)
    return ordered


def asked(config: ItemModelsConfig) -> tuple[Variant, ...]:
    """Settings of every model that is wanted: the rivals', and the teacher's where it is none of them."""
    if config.teacher == "best" or any(rival.type == config.teacher for rival in config.rivals):
        return config.rivals
    return (*config.rivals, model_type(config.teacher).config_type.model_validate({}))
