"""Reasoning as a stage: which steps it adds and changes, and that its model is judged beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.rere import rere_pipeline
from pipelines.step_names import step_names
from rere.catalog.index import CatalogIndex
from rere.config.evaluation import EvaluationConfig
from rere.config.reasoning import ReasoningConfig
from rere.data.dataset import Dataset, Windows
from rere.data.sequences import training_sequences
from rere.evaluation.evaluator import evaluate as evaluate_rows
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.models.recommendation_head import FILE, RecommendationHead, Writing
from rere.recommenders.labels import Label, to_serve
from rere.recommenders.popularity import Popularity
from steps.evaluate import evaluate
from steps.reasoning import reason
from tests.conftest import TINY
from tests.pipeline.test_preference_stage import steps_of

JUDGED = EvaluationConfig(ks=(1, 10), bootstrap_samples=100)
TOLD = {"check_backbone", "gate"}  # have the settings as parameters


def test_it_adds_a_step_and_changes_only_what_is_judged(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.csv" for name in ("interactions", "items")}
    for path in paths.values():
        path.touch()
    data = {"source": {"type": "tables", **{name: str(path) for name, path in paths.items()}}}
    default, asked = steps_of(data=data), steps_of(data=data, reasoning={"tokens": 3})
    assert "reasoning" not in default
    assert asked.keys() - default.keys() == {"reasoning"}
    assert asked["reasoning"][0] == {"sft_model": "sft", "windows": "split", "catalog": "index_items"}
    assert asked["reasoning"][1]["config"] == ReasoningConfig(tokens=3)
    assert {name for name in default if asked[name] != default[name]} == {"evaluate"} | TOLD
    assert asked["evaluate"][0] == default["evaluate"][0] | {"reasoning_model": "reasoning"}
    assert asked["gate"][0] == default["gate"][0]
    assert "reasoning" in step_names(rere_pipeline)


def test_it_is_judged_beside_the_others(
    world_dataset: Dataset,
    world_windows: Windows,
    world_catalog: CatalogIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr("steps.evaluate.log_metadata", lambda facts: None)
    model = load_model(TINY, len(world_catalog.tokenizer), seed=0)
    plain = save_checkpoint(model, tmp_path / "plain", [], {"stage": "sft"})
    writing = Writing.of(world_catalog, ReasoningConfig(tokens=2))
    head = RecommendationHead.untrained(model, world_catalog, writing)
    reasons = save_checkpoint(model, tmp_path / "reasons", [], {"stage": "reasoning"}, beside={FILE: head.tensors()})
    popularity = Popularity.fit(training_sequences(world_dataset), len(world_catalog.item_ids))
    baselines = evaluate_rows(popularity, world_windows.of("test"), world_catalog.index_of, JUDGED)
    results, metrics = evaluate.entrypoint(
        dataset=world_dataset,
        windows=world_windows,
        catalog=world_catalog,
        baselines=baselines,
        sft_model=plain,
        rl_model=plain,
        reasoning_model=reasons,
        config=JUDGED,
    )
    assert results["model"].unique().tolist() == [popularity.name, Label.SFT, Label.RL, Label.REASONING]
    assert to_serve(results["model"].unique()) == Label.RL
    assert len(results[results["model"] == Label.REASONING]) == len(world_windows.of("test"))
    assert isinstance(metrics, pd.DataFrame)
    assert Label.REASONING in set(metrics["model"])


def test_a_killed_step_goes_on_in_the_directory_of_its_settings(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Path] = []

    def train(*given: Any, log: Any) -> Checkpoint:
        used.append(given[4])
        return Checkpoint(given[4])

    monkeypatch.setattr("rere.training.reasoning.train.train_reasoning", train)
    monkeypatch.setattr(Checkpoint, "identity", lambda self: str(self.path))
    monkeypatch.setattr("ops.runtime.run_dirs.atexit.register", lambda *planned, **options: None)
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    for tokens in (3, 4, 3):
        reason.entrypoint(
            sft_model=Checkpoint(Path("a")),
            windows=world_windows,
            catalog=world_catalog,
            config=ReasoningConfig(tokens=tokens),
        )
    assert used[0] == used[2] != used[1]
