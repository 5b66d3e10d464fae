"""One data set and seed: what is trained there is kept by its settings and reused by whoever asks for the same."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from experiments.worlds import ExperimentData
from rere.artifacts.manifest import fingerprint, is_sealed
from rere.catalog.index import CatalogIndex
from rere.config.catalog import IndexConfig
from rere.config.preference import PreferenceConfig
from rere.config.reasoning import ReasoningConfig
from rere.config.recommenders import CrossFit, ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.models.checkpoint import Checkpoint
from rere.recommenders.cross_fitted import CrossFitted
from rere.recommenders.fitting import fit_teacher
from rere.recommenders.item_model import ItemModel
from rere.recommenders.item_models import ItemModels
from rere.recommenders.registry import model_type
from rere.training.preference.train import train_preference
from rere.training.reasoning.train import train_reasoning
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft


class Runner:
    """Trains on one world with one seed.

    Args:
        root: directory; what a killed run left there is continued.
    """

    def __init__(self, world: ExperimentData, seed: int, root: Path) -> None:
        self.world, self.seed = world, seed
        self.root = root / world.name / f"seed{seed}"
        self.indices: dict[str, CatalogIndex] = {}

    def index(self, config: IndexConfig) -> CatalogIndex:
        key = name_of("index", config)
        if key not in self.indices:
            self.indices[key] = self.world.index(config)
        return self.indices[key]

    def tuned(self, index: IndexConfig, config: SFTConfig, folds: int | None = None) -> Checkpoint:
        """The fine-tuned model; its teacher cross-fitted over so many folds."""
        config = config.model_copy(update={"seed": self.seed})
        work = self.root / name_of("sft", index, config, *self._taught_by(config), *_named(folds))
        return self._fine_tuned(index, config, work, folds=folds)

    def continued(self, index: IndexConfig, sft: SFTConfig, config: SFTConfig) -> Checkpoint:
        """The fine-tuned model after another fine-tuning."""
        config = config.model_copy(update={"seed": self.seed})
        work = self.root / name_of("continued", index, sft, config)
        return self._fine_tuned(index, config, work, self.tuned(index, sft))

    def _fine_tuned(
        self,
        index: IndexConfig,
        config: SFTConfig,
        work: Path,
        start: Checkpoint | None = None,
        folds: int | None = None,
    ) -> Checkpoint:
        kinds = self._taught_by(config)
        return train_sft(
            self.world.windows,
            self.index(index),
            index.backbone,
            config,
            work,
            log=_silent,
            start=start,
            teacher=ItemModels({kind: self.taught(kind, folds) for kind in kinds}) if kinds else None,
        )

    def _taught_by(self, config: SFTConfig) -> tuple[str, ...]:
        """The kind of the item model that the settings learn from; nothing without distillation."""
        return (self.teacher(ItemModelsConfig().teacher),) if config.distillation else ()

    def reinforced(
        self, index: IndexConfig, sft: SFTConfig, config: RLConfig, teacher: str, folds: int | None = None
    ) -> Checkpoint:
        """The fine-tuned model after reinforcement learning.

        Args:
            teacher: an item model's kind, or `best`.
            folds: over which the teacher of both is cross-fitted.
        """
        config = config.model_copy(update={"seed": self.seed})
        teacher = self.teacher(teacher)
        work = self.root / name_of("rl", index, sft, config, teacher if config.asks_teacher else "", *_named(folds))
        start = self.tuned(index, sft, folds)
        opinion = self.taught(teacher, folds) if config.asks_teacher else None
        return train_rl(start, self.world.windows, self.index(index), config, work, log=_silent, teacher=opinion)

    def teacher(self, choice: str) -> str:
        """See `ItemModels.teacher`; the best is one of the default rivals."""
        if choice != "best":
            return choice
        kinds = [rival.type for rival in ItemModelsConfig().rivals]
        return ItemModels({kind: self.item_model(kind) for kind in kinds}).teacher("best")

    def preferring(self, index: IndexConfig, sft: SFTConfig, config: PreferenceConfig) -> Checkpoint:
        """The fine-tuned model after DPO or S-DPO."""
        config = config.model_copy(update={"seed": self.seed})
        work = self.root / name_of("preference", index, sft, config)
        return train_preference(
            self.tuned(index, sft), self.world.windows, self.index(index), config, work, log=_silent
        )

    def reasoning(self, index: IndexConfig, sft: SFTConfig, config: ReasoningConfig) -> Checkpoint:
        """The fine-tuned model after it learned to reason before it recommends."""
        config = config.model_copy(update={"seed": self.seed})
        work = self.root / name_of("reasoning", index, sft, config)
        return train_reasoning(self.tuned(index, sft), self.world.windows, self.index(index), config, work, log=_silent)

    def item_model(self, kind: str) -> ItemModel:
        """The item model of a kind, with its defaults."""
        work = self._item_model_path(kind)
        if not is_sealed(work):
            fitted = {needed: self.item_model(needed) for needed in self._needed(kind)}
            data = replace(self.world.fit_data(), fitted=fitted)
            started = time.perf_counter()
            model = model_type(kind).fit(data, self._item_model_config(kind))
            model.save(work)
            (work.parent / f"{work.name}.seconds").write_text(f"{time.perf_counter() - started:.1f}")
        return model_type(kind).load(work)

    def taught(self, kind: str, folds: int | None) -> ItemModel:
        """The item model of a kind as it teaches: cross-fitted over so many folds; None: as it is."""
        if folds is None:
            return self.item_model(kind)
        settings = [self._item_model_config(one) for one in (kind, *self._needed(kind))]
        work = self.root / name_of("cross_fitted", *settings, *_named(folds))
        if not is_sealed(work):
            config = ItemModelsConfig.model_validate(
                {"rivals": settings, "teacher": kind, "cross_fit": CrossFit(folds=folds)}
            )
            whole, fits = ItemModels({kind: self.item_model(kind)}), work.parent / f"{work.name}.fits"
            fit_teacher(self.world.fit_data(), whole, config, fits).alone().save(work)
        return CrossFitted.load(work)

    def item_model_seconds(self, kind: str) -> float:
        """How long its fit took, with those of the models that it needs."""
        work = self._item_model_path(kind)
        own = float((work.parent / f"{work.name}.seconds").read_text())
        return own + sum(self.item_model_seconds(needed) for needed in self._needed(kind))

    def _item_model_path(self, kind: str) -> Path:
        configs = [self._item_model_config(one) for one in (kind, *self._needed(kind))]
        return self.root / name_of(kind, *configs, "selection half")

    def _needed(self, kind: str) -> tuple[str, ...]:
        return model_type(kind).needs(self._item_model_config(kind))

    def _item_model_config(self, kind: str) -> BaseModel:
        settings = model_type(kind).config_type.model_validate({})
        seeded = {"seed": self.seed} if "seed" in type(settings).model_fields else {}
        return settings.model_copy(update=seeded)


def name_of(kind: str, *settings: BaseModel | str) -> str:
    """A directory's name: the kind and a digest of the settings."""
    parts = {str(n): s if isinstance(s, str) else s.model_dump_json() for n, s in enumerate(settings)}
    return f"{kind}-{fingerprint(parts)[:12]}"


def _named(folds: int | None) -> tuple[str, ...]:
    return () if folds is None else (f"{folds} folds",)


def _silent(metrics: dict[str, float], update: int) -> None:
    pass
