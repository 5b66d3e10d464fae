"""One trial: the stages that the space changes, trained and judged on validation rows. It gets no test rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from rere.artifacts.manifest import is_sealed
from rere.catalog.index import CatalogIndex, index_dataset
from rere.config.catalog import IndexConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.preference import PreferenceStageConfig
from rere.config.recommenders import ItemModelsConfig
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.config.tuning import Stage, TuningConfig
from rere.data.dataset import Dataset, Windows
from rere.data.halves import selection_rows
from rere.errors import RereError
from rere.evaluation.evaluator import evaluate
from rere.evaluation.metrics import row_metric
from rere.models.checkpoint import Checkpoint
from rere.recommenders.as_evaluated import as_evaluated
from rere.recommenders.base import Recommender
from rere.recommenders.fitting import fit_data, fit_item_models, fit_teacher
from rere.recommenders.item_model import SCORE, FitData
from rere.recommenders.item_models import ItemModels
from rere.runtime.launch import Log
from rere.training.preference.train import train_preference
from rere.training.rl.train import train_rl
from rere.training.sft.train import train_sft

Report = Callable[[Stage, int, float], None]  # a validation: of which stage, at which step, how good (higher is better)
MOST_EPOCHS = 10_000  # of an item model: keeps the steps of the next one apart


class TrialSettings(BaseModel):
    """Those of a run's settings that a trial is made of."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    catalog: IndexConfig
    item_models: ItemModelsConfig
    sft: SFTConfig
    preference: PreferenceStageConfig | None = None
    rl: RLConfig
    evaluation: EvaluationConfig

    def prefers(self, stage: Stage) -> bool:
        """Whether a trial that ends with this stage trains by preference."""
        before_rl = self.preference is not None and self.preference.place == "before_rl"
        return stage == "preference" or (stage == "rl" and before_rl)


@dataclass(frozen=True)
class TrialInputs:
    """What all trials share: the data without test rows, and what the space changes nothing of.

    teacher: the one item model that teaches; None where each trial fits its own
    start_model: from which the first stage that the space changes is trained; None where each trial begins with SFT
    """

    dataset: Dataset
    windows: Windows
    catalog: CatalogIndex
    teacher: ItemModels | None = None
    start_model: Checkpoint | None = None

    def save(self, directory: Path) -> None:
        """Write what `load` reads; what is there already is left."""
        parts: dict[str, Any] = {"dataset": self.dataset, "windows": self.windows, "catalog": self.catalog}
        if self.teacher is not None:
            parts["teacher"] = self.teacher
        for name, part in parts.items():
            if not is_sealed(directory / name):
                part.save(directory / name)

    @classmethod
    def load(cls, directory: Path, start_model: Path | None) -> TrialInputs:
        """Read what `save` wrote; the model to start from stays where it is."""
        shared = directory / "teacher"
        return cls(
            Dataset.load(directory / "dataset"),
            Windows.load(directory / "windows"),
            CatalogIndex.load(directory / "catalog"),
            ItemModels.load(shared) if shared.exists() else None,
            None if start_model is None else Checkpoint(start_model),
        )


@dataclass(frozen=True)
class Judged:
    """A trial's metric: on the half of the validation users that chooses, and on the other one (None: no rows)."""

    chosen_by: float
    confirmed: float | None


def without_test(dataset: Dataset, windows: Windows) -> tuple[Dataset, Windows]:
    """The data set and its prediction rows without those of the test period."""
    interactions, rows = dataset.interactions, windows.table
    kept = replace(dataset, interactions=interactions[interactions["period"] != "test"], windows=None, origins={})
    return kept, replace(windows, table=rows[rows["period"] != "test"].reset_index(drop=True))


def run_trial(settings: TrialSettings, inputs: TrialInputs, config: TuningConfig, work: Path, report: Report) -> Judged:
    """Train up to `config.stage` and judge; a training that was killed in `work` goes on.

    Args:
        report: called with each validation of a stage as it comes; may end the trial by an exception.

    Raises:
        RereError: settings that can't be trained.
    """
    catalog = inputs.catalog
    if settings.catalog != catalog.config:
        catalog = index_dataset(inputs.dataset, settings.catalog)
    stage, evaluation = config.stage, settings.evaluation
    teacher, choice = inputs.teacher, settings.item_models.teacher
    if stage == "item_models":
        _, models = _item_models(settings, inputs, catalog, report)
        return judge(models.models[models.teacher(choice)], inputs.windows, catalog, evaluation, config)
    if teacher is None and (settings.sft.distillation is not None or (stage == "rl" and settings.rl.asks_teacher)):
        teacher = fit_teacher(*_item_models(settings, inputs, catalog, report), settings.item_models)
    model = inputs.start_model or train_sft(
        inputs.windows,
        catalog,
        settings.catalog.backbone,
        settings.sft,
        work / "sft",
        log=_sft_log(report, settings.sft.validations_per_epoch),
        teacher=teacher if settings.sft.distillation else None,
    )
    if settings.prefers(stage) and config.first_stage != "rl":
        assert settings.preference is not None  # `require_consistent` asked
        preference = settings.preference.training
        place = work / "preference"
        model = train_preference(
            model, inputs.windows, catalog, preference, place, log=_policy_log("preference", report)
        )
    if stage == "rl":
        model = train_rl(
            model,
            inputs.windows,
            catalog,
            settings.rl,
            work / "rl",
            log=_policy_log("rl", report),
            teacher=None if teacher is None else teacher.alone(),
        )
    ranker = as_evaluated(stage, model, catalog, evaluation, sharding="shared")
    return judge(ranker, inputs.windows, catalog, evaluation, config)


def judge(
    recommender: Recommender,
    windows: Windows,
    catalog: CatalogIndex,
    evaluation: EvaluationConfig,
    config: TuningConfig,
) -> Judged:
    """The mean of the metric over evenly spaced validation rows of each half of the users.

    Raises:
        RereError: no validation rows.
    """
    rows = windows.of("valid")
    if not len(rows):
        raise RereError("validation rows to choose by", "none", "use more data, or another split")
    first = selection_rows(rows["user_id"].tolist())
    halves = [_spread(np.flatnonzero(half), config.validation_rows) for half in (first, ~first)]
    results = evaluate(recommender, rows.iloc[np.concatenate(halves)], catalog.index_of, evaluation)
    values = row_metric(config.metric, results["rank"].to_numpy())
    chosen, others = np.split(values, [len(halves[0])])
    return Judged(float(chosen.mean()), float(others.mean()) if len(others) else None)


def _item_models(
    settings: TrialSettings, inputs: TrialInputs, catalog: CatalogIndex, report: Report
) -> tuple[FitData, ItemModels]:
    """What they are fitted on, and they: one after the other in this process, since trials run side by side already."""
    best, order = -1.0, dict[str, int]()  # of fitting

    def log(kind: str, record: dict[str, float]) -> None:
        nonlocal best
        best = max(best, record[SCORE])
        step = MOST_EPOCHS * order.setdefault(kind, len(order)) + int(record.get("epoch", 1))
        report("item_models", step, best)

    data = replace(fit_data(inputs.dataset, inputs.windows, catalog), log=log)
    return data, fit_item_models(data, settings.item_models)


def _sft_log(report: Report, per_epoch: int) -> Log:
    """Validation losses by the number of the validation, so many per epoch; a lower one is better."""

    def log(metrics: dict[str, float], update: int) -> None:
        if "valid_loss" in metrics:
            report("sft", round(metrics["epoch"] * per_epoch), -metrics["valid_loss"])

    return log


def _policy_log(stage: Stage, report: Report) -> Log:
    def log(metrics: dict[str, float], update: int) -> None:
        if SCORE in metrics:
            report(stage, update, metrics[SCORE])

    return log


def _spread(positions: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, evenly spaced."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(int)]
