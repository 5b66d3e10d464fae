"""The harness of the evidence: resumes, reuses what was trained, and its table says what the rows say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import cells, report, run
from experiments.cells import Cell, TrainedModel
from experiments.lab import Runner, name_of
from experiments.worlds import ExperimentData
from rere.catalog.codes.prefix import PrefixCode
from rere.config.catalog import IndexConfig
from rere.config.decoding import Normalisation
from rere.config.rl import RLConfig
from rere.config.sft import SFTConfig
from rere.evaluation.breakdown import HISTORY
from rere.recommenders.base import Ranking
from rere.recommenders.generative import GenerativeRecommender
from rere.recommenders.popularity import Popularity
from tests.conftest import TINY

INDEX = IndexConfig(code=PrefixCode(), backbone=TINY)
SHORT = {"updates": 1, "prompts": 4, "num_generations": 2, "rewards": [{"type": "rule"}]}
SFT = SFTConfig(distillation=None, normalisation="vocab", epochs=1, batch_tokens=64, sequence_items=8)


class Always:
    """Puts one item first for everybody."""

    def __init__(self, item: int) -> None:
        self.name, self.item = "always", item

    def recommend(self, histories: Sequence[Sequence[int]], k: int) -> Ranking:
        items = np.full((len(histories), k), -1)
        items[:, 0] = self.item
        return Ranking(items, np.where(items >= 0, 0.0, -np.inf).astype(np.float32))


def test_a_finished_cell_is_not_run_again(world: ExperimentData, tmp_path: Path) -> None:
    calls = []

    def make(lab: Runner, judged: Normalisation) -> TrainedModel:
        calls.append(lab.seed)
        return TrainedModel(Popularity.fit(lab.world.sequences, len(lab.world.item_index)), 1.5, 10.0)

    for _ in range(2):
        run.run_cell(Runner(world, 0, tmp_path), Cell("Popularity", make), tmp_path)
    run.run_cell(Runner(world, 1, tmp_path), Cell("Popularity", make), tmp_path)
    assert calls == [0, 1]
    run.run_cell(Runner(world, 1, tmp_path), Cell("Popularity", make, judged="vocab"), tmp_path)
    assert calls == [0, 1, 1]  # judged under another normalisation: not the same result
    path = run.result_path(tmp_path, "small", 0, "Popularity")
    rows = pd.read_parquet(path)
    rows.assign(items=[items[:20] for items in rows["items"]]).to_parquet(path)
    assert not run.is_finished(path, Cell("Popularity", make))  # shorter lists know nothing of HR@50


def test_equal_settings_share_a_training_and_others_do_not(world: ExperimentData, tmp_path: Path) -> None:
    lab = Runner(world, 0, tmp_path)
    first = lab.tuned(INDEX, SFT)
    written = (first.path / "manifest.json").stat().st_mtime_ns
    assert lab.tuned(INDEX, SFT).path == first.path
    assert (first.path / "manifest.json").stat().st_mtime_ns == written
    rl = RLConfig.model_validate(SHORT)
    assert lab.reinforced(INDEX, SFT, rl, "sasrec").path != first.path
    assert name_of("rl", rl) != name_of("rl", rl.model_copy(update={"beta": 0.5}))


def test_what_the_figures_rest_on_is_kept(
    world: ExperimentData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks, length, best and last validation, and curves: of RL, fine-tuning, and what isn't trained."""
    rl = RLConfig.model_validate({**SHORT, "updates": 3, "validate_every": 1, "learning_rate": 1.0})
    study = [
        Cell("SFT", cells.tuned(INDEX, SFT)),
        Cell("ReRe", cells.reinforced(rl, INDEX, SFT)),
        Cell("other", lambda lab, _: TrainedModel(Always(2))),
    ]
    monkeypatch.setitem(cells.STUDIES, "methods", study)
    monkeypatch.setattr(report, "load", lambda name: world)
    lab = Runner(world, 0, tmp_path)
    for cell in study:
        run.run_cell(lab, cell, tmp_path)
    report.write(tmp_path, "small", "methods", tmp_path)
    ranks = pd.read_parquet(tmp_path / "small-methods-ranks.parquet")
    assert ranks["row_id"].tolist() == sorted(world.windows.of("test")["row_id"])
    assert (ranks["other, seed 0"] == (ranks["target"] == 2)).all()  # at rank 1, or not in the list
    found = report.table(tmp_path, "small", "methods").set_index("model")
    assert found.loc["ReRe", "hr@50"] == pytest.approx((ranks["ReRe, seed 0"] > 0).mean())

    curves = pd.read_parquet(tmp_path / "small-methods-curves.parquet").sort_values("update")
    assert set(curves["model"]) == {"SFT", "ReRe"}
    of = {model: curves[(curves["model"] == model) & (curves["seed"] == 0)] for model in ("SFT", "ReRe")}
    assert of["ReRe"]["update"].tolist() == [0, 1, 2, 3]
    scores = of["ReRe"]["valid_ndcg@10"].tolist()
    runs = pd.read_csv(tmp_path / "small-methods-runs.csv").set_index("model")
    assert runs.loc["ReRe", "best_update"] == np.argmax(scores)
    assert runs.loc["SFT", "last_valid_loss"] == pytest.approx(of["SFT"]["valid_loss"].dropna().iloc[-1])
    assert found.loc["ReRe", "epochs"] == pytest.approx(3 * 4 / len(world.windows.of("train")))
    assert found.loc["SFT", "epochs"] == 1
    stages = ", ".join(f"{score:.4f}" for score in (scores[0], max(scores), scores[3]))
    table = report.markdown(found.reset_index(), "methods")
    assert f"| {stages} |" in table
    row = next(line for line in table.splitlines() if line.startswith("| other |"))
    assert row.count("–") >= 3  # nothing was trained, so no length, no validation, no groups


def test_tables_made_before_a_figure_was_reported_lack_only_that() -> None:
    old = pd.read_csv(Path(report.__file__).parents[1] / "docs" / "results" / "movielens-sensitivity.csv")
    text = report.markdown(old.drop(columns=["hr@50", "epochs"], errors="ignore"), "sensitivity")
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_the_table_averages_seeds_and_compares_row_by_row(
    world: ExperimentData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = [
        Cell("SFT", lambda lab, _: TrainedModel(Always(lab.seed))),
        Cell("other", lambda lab, _: TrainedModel(Always(lab.seed + 2))),
    ]
    monkeypatch.setitem(cells.STUDIES, "methods", study)
    monkeypatch.setattr(report, "load", lambda name: world)
    for seed in (0, 1):
        for cell in study:
            run.run_cell(Runner(world, seed, tmp_path), cell, tmp_path)
    found = report.table(tmp_path, "small", "methods").set_index("model")
    targets = np.array(world.rows("test")[1])
    share = [(targets == item).mean() for item in range(4)]  # hits at rank 1 count 1
    assert found.loc["SFT", "ndcg@10"] == pytest.approx((share[0] + share[1]) / 2)
    assert found.loc["other", "vs SFT"] == pytest.approx((share[2] + share[3] - share[0] - share[1]) / 2)
    assert found.loc["SFT", "ndcg@10 seeds"] == pytest.approx(np.std(share[:2], ddof=1))
    assert found.loc["other", "vs SFT low"] <= found.loc["other", "vs SFT"] <= found.loc["other", "vs SFT high"]  # type: ignore[arg-type, operator]
    text = report.markdown(found.reset_index(), "methods")
    assert "| other |" in text
    monkeypatch.setattr(report, "NAMES", ("small", "never run"))
    report.write(tmp_path, "small", "methods", tmp_path)
    parts = pd.read_csv(tmp_path / "small-methods-breakdown.csv").set_index(["model", "by", "part"])
    by_part = parts.xs(("other", HISTORY), level=("model", "by"))
    assert by_part["n"].sum() == len(targets)  # each row once, however many the seeds
    short = np.array([3 <= len(history) <= 4 for history in world.rows("test")[0]])
    hits = [(targets[short] == item).mean() for item in (2, 3)]
    assert by_part.loc["3-4", "hr@10"] == pytest.approx(np.mean(hits))
    report.page(tmp_path)
    written = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "| other |" in written
    assert f"| {HISTORY} | 3-4 ({short.sum()} rows) |" in written
    plot = (tmp_path / "small-methods.svg").read_bytes()
    report.page(tmp_path)  # from the CSV files: what wasn't run again keeps its table, and the same plot
    assert (tmp_path / "small-methods.svg").read_bytes() == plot


def test_a_table_holds_one_normalisation(
    world: ExperimentData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a model was trained under: equal weights must get equal numbers."""
    for study in cells.STUDIES.values():
        assert len({cell.judged for cell in study}) == 1
    lab, rl = Runner(world, 0, tmp_path), RLConfig.model_validate(SHORT)
    made = [
        cells.tuned(INDEX, SFT)(lab, "trie"),
        cells.reinforced(rl, INDEX, SFT, normalisation="vocab")(lab, "trie"),
        cells.reinforced(rl, INDEX, SFT, normalisation="trie")(lab, "trie"),
    ]
    for each in made:
        assert isinstance(each.recommender, GenerativeRecommender)
        assert each.recommender.normalisation == "trie"
    monkeypatch.setitem(cells.STUDIES, "methods", [Cell("SFT", lambda lab, _: TrainedModel(Always(0)))])
    run.run_cell(lab, Cell("SFT", lambda lab, _: TrainedModel(Always(0)), judged="vocab"), tmp_path)
    monkeypatch.setattr(report, "load", lambda name: world)
    assert report.table(tmp_path, "small", "methods").empty  # what was judged otherwise is no part of it


def test_every_cell_has_a_name_of_its_own_in_its_study() -> None:
    for study in cells.STUDIES.values():
        paths = [run.result_path(Path(), "data", 0, cell.label) for cell in study]
        assert len(set(paths)) == len(paths)
