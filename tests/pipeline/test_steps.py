"""Steps by their entrypoints, without a ZenML run: what each adds to the library function that it calls."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from zenml.types import HTMLString

import steps.summarise
from ops.gate.decisions import decisions
from ops.gate.summary import next_commands
from ops.registry import anchor, champion, champion_record, policy, run_record, servable, zenml_registry
from ops.registry import mlflow_registry as registry
from ops.registry.event_log import Event
from ops.registry.stages import VERSION, Promoted, Reviewed, StageMaterializer
from ops.registry.tags import VersionTags
from ops.runtime.base_record import BaseRecord
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex
from rere.catalog.warm_start import StartRecord
from rere.config.backbone import HubModel, ScratchModel
from rere.config.catalog import IndexConfig
from rere.config.evaluation import EvaluationConfig
from rere.config.ingest import IngestConfig
from rere.config.promotion import GateConfig, NonInferiority, PromotionConfig
from rere.config.retraining import FromBackbone, FromChampion, Start
from rere.config.rl import RLConfig
from rere.config.served_model import BlendConfig, NewItemsConfig, ServedModelConfig
from rere.config.sft import SFTConfig
from rere.data.dataset import FORGOTTEN, Dataset, Windows
from rere.data.sequences import indexed_rows, training_counts, training_sequences
from rere.data.sources.hub import HubDataset
from rere.data.validation_report import Check, FailingRow, ValidationReport
from rere.errors import RereError
from rere.evaluation.checkpoints import evaluate_checkpoints
from rere.evaluation.evaluator import results_of
from rere.evaluation.evaluator import summarise as summarise_results
from rere.evaluation.verdict import SIZE, Verdict
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint, save_checkpoint
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.item_models import ItemModels
from rere.recommenders.labels import Label
from rere.recommenders.prior import Prior
from rere.runtime.launchers.local import LocalLauncher
from steps.check_backbone import check_backbone
from steps.collect import collect
from steps.evaluate import evaluate
from steps.gate import gate
from steps.index_items import continue_items, index_items
from steps.prior import make_prior
from steps.promote import promote
from steps.report import report
from steps.rl import reinforce
from steps.sft import fine_tune, fine_tune_on
from steps.summarise import summarise

JUDGED = EvaluationConfig(ks=(1, 10), beams=10, bootstrap_samples=100)
EASY = PromotionConfig(
    model_name="test", gate=GateConfig(test=NonInferiority(margin=2), maximum_total_loss=2, minimum_over_popularity=-2)
)
CHECKED = ValidationReport(subject="data set", checks=())
CHECKED_ROWS = ValidationReport(subject="windows", checks=())
PAGE = HTMLString("<p/>")


def failed_report() -> ValidationReport:
    rows = (FailingRow(row=7, values={"item_id": "x9"}),)
    check = Check(
        name="titles aren't blank",
        table="items",
        severity="error",
        passed=False,
        expected="a title for every item",
        observed="1 failing row",
        remedy="give those items a title",
        failing=1,
        rows=rows,
    )
    return ValidationReport(subject="data set", checks=(check,))


def test_nothing_is_indexed_before_the_checks_passed(world_items: pd.DataFrame) -> None:
    with pytest.raises(RereError, match=r"a title for every item.*row 7 \(item_id=x9\).*give those items a title"):
        index_items.entrypoint(
            SimpleNamespace(items=world_items), failed_report(), IndexConfig(code=PrefixCode()), "", {}
        )


def test_fine_tuning_works_in_its_own_directory(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Path] = []
    begun: list[tuple[int, Checkpoint | None]] = []

    def train(
        windows: Windows,
        catalog: CatalogIndex,
        backbone: Any,
        config: SFTConfig,
        place: Path,
        log: Callable[..., None],
        start: Checkpoint | None,
        teacher: ItemModels | None,
    ) -> Checkpoint:
        log({"loss": 1.0, "valid_ndcg@10": 0.5}, 3)  # no MLflow run here: goes nowhere
        used.append(place)
        begun.append((config.epochs, start))
        return Checkpoint(place)

    monkeypatch.setattr("rere.training.sft.train.train_sft", train)
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    monkeypatch.setattr("ops.runtime.run_dirs.atexit.register", lambda *planned, **options: None)
    fine_tune.entrypoint(
        world_windows,
        world_catalog,
        SFTConfig(distillation=None, normalisation="vocab"),
        "another backbone under the same name",
    )
    other = used.pop()
    for config in (
        SFTConfig(distillation=None, normalisation="vocab"),
        SFTConfig(distillation=None, normalisation="vocab"),
        SFTConfig(distillation=None, normalisation="vocab", epochs=9),
    ):
        fine_tune.entrypoint(world_windows, world_catalog, config, "")
    assert used[0] == used[1] != used[2]
    assert other not in used
    assert {place.parent for place in used} == {tmp_path}

    champion = save_checkpoint(load_model(ScratchModel(layers=1, width=8, heads=1), 300, 0), tmp_path / "old", [], {})
    monkeypatch.setattr(BaseRecord, "load", lambda base, part: champion)
    for kind in ("champion", "backbone"):  # on from the champion where the catalogue goes on from its, else as ever
        start = StartRecord.model_validate({"type": kind, "reason": "", "known_items": 0, "new_items": 0})
        inputs: dict[str, Any] = {"base": BaseRecord(language_model="id"), "start": start, "windows": world_windows}
        inputs |= {
            "catalog": world_catalog,
            "config": SFTConfig(distillation=None, normalisation="vocab"),
            "backbone_sha256": "",
        }
        inputs["start_from"] = FromChampion(epochs=1)
        fine_tune_on.entrypoint(**inputs)
    assert begun[-2:] == [(1, champion), (SFTConfig(distillation=None, normalisation="vocab").epochs, None)]
    assert used[-2] not in used[:3]
    assert used[-1] == used[0]


def test_rl_is_not_resumed_over_other_item_columns(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own reward may read any of them."""
    used: list[Path] = []

    def train(*given: Any, **named: Any) -> Checkpoint:
        used.append(given[4])
        return Checkpoint(given[4])

    monkeypatch.setattr("rere.training.rl.train.train_rl", train)
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    monkeypatch.setattr("ops.runtime.run_dirs.atexit.register", lambda *planned, **options: None)
    teacher = SimpleNamespace(alone=lambda: SimpleNamespace(content=lambda: ""))
    cheap = pd.DataFrame({"price": np.full(len(world_catalog.titles), 5.0), "brand": "Acme"})
    for columns in (cheap, cheap, cheap.assign(price=np.nan), cheap.assign(brand=None), pd.DataFrame()):
        reinforce.entrypoint(
            start_model=SimpleNamespace(identity=lambda: ""),
            windows=world_windows,
            catalog=dataclasses.replace(world_catalog, columns=columns),
            teacher=teacher,
            config=RLConfig(),
            rl_sha256="",
            model_commits={},
        )
    assert used[0] == used[1]
    assert len(set(used)) == 4


def test_steps_take_what_a_hub_has_in_the_commit_that_the_run_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    commit, taken = "0123456789" * 4, []
    monkeypatch.setattr("rere.data.sources.base.load_source", lambda source: taken.append(source))
    monkeypatch.setattr("rere.data.collected.collect", lambda rows, base, deleted: None)
    monkeypatch.setattr("rere.training.check.check_backbone", lambda catalog, *others: taken.append(catalog.backbone))
    data = IngestConfig(source=HubDataset(interactions="me/clicks", items="me/items"))
    catalog = IndexConfig(backbone=HubModel(id="org/model"))
    sums = {"catalog_sha256": "", "rl_sha256": ""}
    commits = {f"{name}@main": commit for name in ("datasets/me/clicks", "datasets/me/items", "org/model")}
    collect.entrypoint(base=BaseRecord(), config=data, source_sha256="", data_commits=commits, deleted="keep")
    check_backbone.entrypoint(
        catalog=catalog, sft=SFTConfig(), preference=None, rl=RLConfig(), reasoning=None, model_commits=commits, **sums
    )
    assert [taken[0].interactions_revision, taken[0].items_revision, taken[1].revision] == [commit] * 3


def test_from_a_model_that_learned_what_is_to_be_forgotten_training_does_not_go_on(
    world_dataset: Dataset, world_catalog: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseRecord, "load", lambda base, part: world_catalog)

    def start(dropped: dict[str, int], base: BaseRecord, start_from: Start) -> StartRecord:
        report = world_dataset.report.model_copy(update={"dropped": dropped})
        _, found = continue_items.entrypoint(
            dataset=dataclasses.replace(world_dataset, report=report),
            split_validation=CHECKED_ROWS,
            base=base,
            config=world_catalog.config,
            catalog_sha256="",
            model_commits={},
            start_from=start_from,
        )
        assert isinstance(found, StartRecord)
        return found

    champion = BaseRecord(version="1", language_model="id", catalog="id")
    assert start({FORGOTTEN: 0}, champion, FromChampion()).type == "champion"
    forgotten = start({FORGOTTEN: 2}, champion, FromChampion())
    assert (forgotten.type, "2 interactions" in forgotten.reason) == ("backbone", True)
    without = [start({}, BaseRecord(), FromChampion()), start({}, champion, FromBackbone())]
    assert {one.type for one in without} == {"backbone"}
    assert [one.reason for one in without] == ["there is no champion to go on from", "the settings ask for it"]


@pytest.fixture(scope="module")
def model(world_catalog: CatalogIndex, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    place = tmp_path_factory.mktemp("model") / "checkpoint"
    backbone = ScratchModel(layers=1, width=16, heads=1, vocabulary=300)
    return save_checkpoint(load_model(backbone, len(world_catalog.tokenizer), seed=0), place, [], {})


@pytest.fixture
def results(world_windows: Windows, world_catalog: CatalogIndex) -> pd.DataFrame:
    """SFT and ReRe always right at rank 1, popularity always wrong."""
    rows = world_windows.of("test")
    targets = rows["target"].map(world_catalog.index_of).to_numpy()
    tables = []
    for name, rank in {Label.POPULARITY: 0, Label.SFT: 1, Label.RL: 1}.items():
        table = pd.DataFrame(
            {"row_id": rows["row_id"], "user_id": rows["user_id"], "model": str(name), "target": targets}
        )
        lists = [list(np.roll(np.arange(10), -int(target % 10))) for target in targets]
        tables.append(table.assign(warm=rows["warm"], rank=rank, items=lists, scores=lists, invalid=0, duplicate=0))  # type: ignore[arg-type]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def world(
    model: Checkpoint,
    world_catalog: CatalogIndex,
    world_dataset: Dataset,
    world_windows: Windows,
    results: pd.DataFrame,
) -> dict[str, Any]:
    """The gate's inputs."""
    return {
        "language_model": model,
        "catalog": world_catalog,
        "prior": Prior(training_counts(world_dataset), ServedModelConfig()),
        "dataset": world_dataset,
        "windows": world_windows,
        "data_validation": CHECKED,
        "split_validation": CHECKED_ROWS,
        "results": results,
        "evaluation": JUDGED,
        "config": EASY,
        "settings": {},
        "named": {},
        "data_commits": {},
        "model_commits": {"org/model@main": "0123456789" * 4},
        "submitted": {"commit": "c0ffee", "dirty": False},
    }


@pytest.fixture
def in_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty registry of MLflow without a server, and no pipeline run."""
    monkeypatch.setattr(registry, "require_tracker", lambda: None)
    monkeypatch.setattr(registry, "find_version", lambda name, content: None)
    monkeypatch.setattr(registry, "champion_version", lambda name: None)
    monkeypatch.setattr(champion_record, "repair", lambda name: False)
    monkeypatch.setattr(run_record, "log_results", lambda results: None)
    monkeypatch.setattr(run_record, "describe_run", lambda tags, card: None)
    monkeypatch.setattr(zenml_registry, "running", lambda: "rere_pipeline-1")
    monkeypatch.setattr(zenml_registry, "tag_run", lambda tags: None)
    monkeypatch.setattr(steps.summarise, "link_run", lambda name, version: None)


@pytest.fixture
def first_run(in_mlflow: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Work directories of the test's own; what `prior` logs is returned."""
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    logged: dict[str, Any] = {}
    monkeypatch.setattr("steps.prior.log_metadata", logged.update)
    monkeypatch.setattr("steps.evaluate.log_metadata", lambda facts: None)
    return logged


def evaluated(world: dict[str, Any], prior: Prior) -> tuple[pd.DataFrame, pd.Series]:
    """All models' results as the step has them, and their NDCG@10 by model."""
    results, metrics = evaluate.entrypoint(
        **{name: world[name] for name in ("dataset", "windows", "catalog")},
        baselines=world["results"][world["results"]["model"] == Label.POPULARITY],
        sft_model=world["language_model"],
        rl_model=world["language_model"],
        config=JUDGED,
        prior=prior,
    )
    return results, metrics.query("rows == 'all' and metric == 'ndcg@10'").set_index("model")["mean"]


def test_a_blend_is_fitted_judged_and_judged_by_the_gate_in_the_models_stead(
    world: dict[str, Any], first_run: dict[str, Any]
) -> None:
    data = {name: world[name] for name in ("dataset", "windows", "catalog")}
    valid = indexed_rows(data["windows"].of("valid"), data["catalog"].index_of)
    known = FitData(training_sequences(data["dataset"]), len(data["catalog"].item_ids), *valid)
    models = ItemModels({"co_occurrence": CoOccurrence.fit(known, CoOccurrenceConfig())})
    config = ServedModelConfig(blend=BlendConfig(validation_rows=20))
    trained = {"item_models": models, "language_model": world["language_model"]}
    prior = make_prior.entrypoint(**data, config=config, evaluation=JUDGED, **trained)
    assert first_run == {"item_model": "co_occurrence", "share": prior.share}
    assert prior.share > 0  # the language model is untrained, and in this world the next item follows from the last
    assert make_prior.entrypoint(**data, config=ServedModelConfig(), evaluation=JUDGED).item_model is None
    results, value = evaluated(world, prior)
    assert results["model"].unique().tolist() == [Label.POPULARITY, Label.SFT, Label.RL, Label.BLEND]
    assert value[Label.BLEND] > value[Label.RL] == value[Label.SFT]
    decision, _ = gate.entrypoint(**world | {"results": results, "prior": prior})
    assert decision.value == pytest.approx(value[Label.BLEND])


def test_new_items_boosted_are_judged_by_the_gate_as_they_would_be_served(
    world: dict[str, Any], first_run: dict[str, Any]
) -> None:
    data = {name: world[name] for name in ("dataset", "windows", "catalog")}
    config = ServedModelConfig(new_items=NewItemsConfig(boost=2.0))
    prior = make_prior.entrypoint(**data, config=config, evaluation=JUDGED, language_model=world["language_model"])
    assert (prior.boost, prior.serves, first_run) == (2.0, "rl", {"new_item_boost": 2.0})
    results, value = evaluated(world, prior)
    decision, _ = gate.entrypoint(**world | {"results": results, "prior": prior})
    assert decision.value == pytest.approx(value[Label.BOOSTED])
    assert any("counts 2 times" in note for note in decision.notes)


def test_what_preference_training_made_in_rl_s_place_is_judged_under_its_name(
    world: dict[str, Any], first_run: dict[str, Any], tmp_path: Path
) -> None:
    facts = {"stage": "preference", "best_update": 0, "settings": {}}
    curves = [{"update": 1, "preferred": 0.5}, {"update": 2, "preferred": 0.9}]
    preferred = save_checkpoint(world["language_model"].load_model(), tmp_path / "preferred", curves, facts)
    data = {name: world[name] for name in ("dataset", "windows", "catalog")}
    trained = {"sft_model": world["language_model"], "preference_model": preferred}
    settings = {"sft": {"seed": 3}, "preference": None}  # the latter as in a run that doesn't ask for it
    for boost, label in ((None, Label.PREFERENCE), (2.0, Label.PREFERENCE_BOOSTED)):
        served = dataclasses.replace(world["prior"], boost=boost)
        results, metrics = evaluate.entrypoint(
            **data,
            **trained,
            baselines=world["results"][world["results"]["model"] == Label.POPULARITY],
            config=JUDGED,
            prior=served if boost else None,
        )
        expected = dict.fromkeys([Label.POPULARITY, Label.SFT, Label.PREFERENCE, label])
        assert results["model"].unique().tolist() == list(expected)
        value = metrics.query("rows == 'all' and metric == 'ndcg@10'").set_index("model")["mean"]
        judged = {"results": results, "prior": served, "language_model": preferred, "settings": settings}
        decision, _ = gate.entrypoint(**world | judged)
        assert decision.value == pytest.approx(value[label])
        assert (decision.serves, decision.seeds) == ("preference", {"sft": 3})
        assert "No preference update beat the model that it started from" in decision.notes[0]
    page = report.entrypoint(**data, **trained, results=results, metrics=metrics, judged=decision, evaluation=JUDGED)
    assert "Preference: the target above its negatives" in page
    assert "RL: reward" not in page


def test_an_item_model_is_judged_logged_and_judged_anew_as_champion_without_the_language_model(
    world: dict[str, Any], first_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = {name: world[name] for name in ("dataset", "windows", "catalog")}
    valid = indexed_rows(data["windows"].of("valid"), data["catalog"].index_of)
    known = FitData(training_sequences(data["dataset"]), len(data["catalog"].item_ids), *valid)
    models = ItemModels({"co_occurrence": CoOccurrence.fit(known, CoOccurrenceConfig())})
    config = ServedModelConfig(candidate="best")
    prior = make_prior.entrypoint(**data, config=config, evaluation=JUDGED, item_models=models)
    assert (prior.serves, prior.alone) == ("co_occurrence", True)
    results, value = evaluated(world, prior)
    inputs = world | {"results": results, "prior": prior}
    decision, _ = gate.entrypoint(**inputs)
    assert decision.value == pytest.approx(value[Label.ALONE])
    assert (decision.serves, decision.tags("").serves) == ("co_occurrence", "co_occurrence")
    assert "the item model co_occurrence alone" in decision.notes[0]
    served = servable.serving_settings(world["windows"], JUDGED)
    assert decision.content == servable.content_of(None, world["catalog"], prior, served)
    (size,) = [check for check in decision.verdict.checks if check.name == SIZE]
    assert size.value == pytest.approx(prior.mebibytes())

    prior.save(tmp_path / "prior")
    found = registry.Registered("4", VersionTags(), tmp_path, served, prior=tmp_path / "prior")
    monkeypatch.setattr(registry, "champion_version", lambda name: "4")
    monkeypatch.setattr(registry, "fetched", lambda name, version: nullcontext(found))
    monkeypatch.setattr(registry, "read", lambda registered: (None, world["catalog"]))
    again, rival = gate.entrypoint(**inputs)
    assert rival["rank"].tolist() == results_of(results, Label.ALONE)["rank"].tolist()  # identical, whoever judges
    assert again.verdict.passed == decision.verdict.passed

    logged: list[Path | None] = []

    def log(checkpoint: Path | None, *others: Any) -> str:
        logged.append(checkpoint)
        raise RereError("no more", "needed", "stop")

    monkeypatch.setattr(servable, "log_model", log)
    with pytest.raises(RereError, match="no more"):
        promoted(inputs, reviewed())
    assert logged == [None]


def test_a_stack_without_a_tracker_is_refused(world: dict[str, Any]) -> None:
    with pytest.raises(RereError, match="make stack"):
        gate.entrypoint(**world)


def test_the_first_model_that_passes_is_promoted(world: dict[str, Any], in_mlflow: None) -> None:
    decision, rival = gate.entrypoint(**world)
    assert decision.promotes
    assert decision.champion is None
    assert decision.value == 1  # every target at rank 1
    assert decision.settings == {"model_commits": world["model_commits"]}
    assert rival.empty


def test_a_model_whose_prediction_rows_failed_their_checks_is_not_promoted(
    world: dict[str, Any], in_mlflow: None
) -> None:
    """They may only have warned, as those of window files do."""
    rows = len(world["windows"].table)
    gaps = (
        failed_report()
        .checks[0]
        .model_copy(
            update={"name": "histories come before targets", "severity": "warning", "failing": rows // 2, "rows": ()}
        )
    )
    split = ValidationReport(subject="windows", checks=(gaps,))
    decision, _ = gate.entrypoint(**world | {"split_validation": split})
    assert not decision.promotes
    assert [check.name for check in decision.verdict.checks if not check.passed] == ["sound prediction rows"]
    few = ValidationReport(subject="windows", checks=(gaps.model_copy(update={"failing": 1}),))
    assert gate.entrypoint(**world | {"split_validation": few})[0].promotes


@pytest.mark.parametrize("rule", ["off", "warn", "refuse"])
def test_a_better_item_model_is_named_wherever_the_decision_is_read(
    rule: Any,
    world: dict[str, Any],
    in_mlflow: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before, the review alone had it."""
    monkeypatch.setenv("RERE_REPORTS_DIR", str(tmp_path))
    first = world["results"]
    ours = first["model"] == Label.RL
    better = first[ours].assign(model="EASE")
    results = pd.concat([first.assign(rank=first["rank"].where(~ours, 2)), better], ignore_index=True)
    gate_config = EASY.gate.model_copy(update={"over_best_item_model": rule, "confidence": 0.9})
    asked = EASY.model_copy(update={"gate": gate_config})
    decision, _ = gate.entrypoint(**world | {"results": results, "config": asked})
    assert decision.promotes == (rule != "refuse")
    metrics = summarise_results(results, JUDGED, np.ones(len(world["catalog"].item_ids)))
    model = world["language_model"]
    inputs = {name: world[name] for name in ("dataset", "windows", "catalog", "evaluation")}
    page = report.entrypoint(
        **inputs, sft_model=model, rl_model=model, results=results, metrics=metrics, judged=decision
    )
    promotion = Promoted(**dict(decision), page="", version="1", aliases=("challenger",), tracking_uri="")
    summarise.entrypoint(metrics=metrics, report=page, promotion=promotion, evaluation=JUDGED)
    said = {"off": "Gate: passed", "warn": "item model EASE ranks better", "refuse": "minus that of EASE, the best"}
    printed = capsys.readouterr().out
    assert said[rule] in printed
    assert rule == "off" or said[rule] in page
    assert "90% interval" in page
    assert "95% interval" not in page  # the evaluation's: one method per page
    assert ("ranks better" in printed) == ("ranks better" in page) == (rule == "warn")


def test_a_champion_stays_champion_whatever_the_gate_asks(
    world: dict[str, Any], in_mlflow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_version", lambda name, content: "4")
    monkeypatch.setattr(registry, "champion_version", lambda name: "4")
    hard = PromotionConfig(model_name="test", gate=GateConfig(minimum_over_popularity=2))
    decision, rival = gate.entrypoint(**world | {"config": hard})
    assert not decision.verdict.passed
    assert decision.is_champion
    assert decision.promotes
    assert rival.empty


def test_another_champion_is_judged_anew_on_the_same_rows(
    world: dict[str, Any],
    model: Checkpoint,
    world_catalog: CatalogIndex,
    in_mlflow: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    settings = {"history_items": world["windows"].history_items, "beams": 5, "normalisation": "vocab"}
    found = SimpleNamespace(version="4", settings=settings, tags=VersionTags(newest_interaction=5), prior=None)
    items = world_catalog.items.copy()
    items.loc[0, "item_id"] = "gone"  # their item 0 is none of ours
    fewer = dataclasses.replace(world_catalog, items=items)
    monkeypatch.setattr(registry, "champion_version", lambda name: "4")
    monkeypatch.setattr(registry, "fetched", lambda name, version: nullcontext(found))
    monkeypatch.setattr(registry, "read", lambda registered: (model, fewer))
    decision, rival = gate.entrypoint(**world)
    rows = len(world["windows"].of("test"))
    assert len(rival) == rows
    assert f"version 4, was judged anew on the same {rows} rows" in decision.notes[0]
    assert "lacks 1 of today's items" in decision.notes[1]
    assert "It is served with beams: 5, normalisation: vocab, but was judged with today's settings" in decision.notes[2]
    (latency,) = [check for check in decision.verdict.checks if check.name == "latency kept"]
    assert latency.value is not None
    assert not decision.is_champion


@pytest.mark.parametrize(("gpus", "processes"), [(0, 1), (1, 1), (2, 2), (16, 8)])
def test_the_champion_is_judged_in_one_process_per_gpu(
    gpus: int, processes: int, world: dict[str, Any], in_mlflow: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, catalog, windows = (world[name] for name in ("language_model", "catalog", "windows"))
    settings = {"history_items": windows.history_items, "beams": 5, "normalisation": "vocab"}
    champion = SimpleNamespace(version="4", settings=settings, tags=VersionTags(), prior=None)
    judged: list[EvaluationConfig] = []

    def alone(
        models: Any, windows: Windows, catalog: CatalogIndex, config: EvaluationConfig, place: Path, **more: Any
    ) -> pd.DataFrame:
        judged.append(config)
        return evaluate_checkpoints(models, windows, catalog, config.as_one(), place, **more)

    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    monkeypatch.setattr(registry, "champion_version", lambda name: "4")
    monkeypatch.setattr(registry, "fetched", lambda name, version: nullcontext(champion))
    monkeypatch.setattr(registry, "read", lambda registered: (model, catalog))
    monkeypatch.setattr("ops.gate.judged_champion.evaluate_checkpoints", alone)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    evaluation = JUDGED.model_copy(update={"launcher": LocalLauncher(processes=8)})
    _, rival = gate.entrypoint(**world | {"evaluation": evaluation})
    assert len(rival) == len(windows.of("test"))
    (config,) = judged
    assert (config.launcher, config.normalisation) == (
        LocalLauncher(processes=processes),
        evaluation.normalisation,
    )


def test_where_the_champion_on_record_is_gone_a_person_decides(
    world: dict[str, Any], in_mlflow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champion_record, "lost_champion", lambda name: "3")
    decision, _ = gate.entrypoint(**world)
    assert decision.verdict.passed
    assert not decision.promotes
    assert any("version 3, was deleted in MLflow" in note for note in decision.notes)


@pytest.mark.parametrize("error", [RereError("whole files", "a cut one", "restore it"), OSError("disk gone")])
def test_a_champion_whose_files_are_gone_stops_the_gate(
    error: Exception, world: dict[str, Any], in_mlflow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, version: str) -> None:
        raise error

    monkeypatch.setattr(registry, "champion_version", lambda name: "4")
    monkeypatch.setattr(registry, "fetched", fail)
    decision, rival = gate.entrypoint(**world)
    assert not decision.promotes
    assert rival.empty
    (bad,) = [check for check in decision.verdict.checks if not check.passed]
    assert bad.name == "the champion can be judged"
    assert str(error) in bad.explanation
    assert "rere rollback" in bad.explanation


def reviewed(passed: bool = True) -> Reviewed:
    return Reviewed(
        model="test",
        content="c0",
        champion=None,
        is_champion=False,
        verdict=Verdict(passed=passed, checks=()),
        metric="ndcg@10",
        value=0.05,
        newest=7,
        data={},
        windows="w0",
        settings={},
        page="<p/>",
    )


def promoted(world: dict[str, Any], review: Reviewed, decided_by: str = "gate") -> Promoted:
    """What the step makes of it."""
    inputs = {name: world[name] for name in ("dataset", "catalog", "prior", "windows", "evaluation")}
    metrics = summarise_results(world["results"], JUDGED, np.ones(len(world["catalog"].item_ids)))
    found: Promoted = promote.entrypoint(
        **inputs,
        sft_model=world["language_model"],
        rl_model=world["language_model"],
        metrics=metrics,
        report=PAGE,
        review=review,
        decided_by=decided_by,
    )
    return found


def test_a_model_that_fails_its_proof_is_never_registered(
    world: dict[str, Any], in_mlflow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> str:
        raise RereError("three items", "none", "report this")

    def never(*arguments: Any) -> str:
        pytest.fail("registered without a proof")

    monkeypatch.setattr(servable, "log_model", fail)
    monkeypatch.setattr(registry, "register", never)
    monkeypatch.setattr(registry, "set_alias", never)
    with pytest.raises(RereError, match="three items"):
        promoted(world, reviewed())


@pytest.mark.parametrize(
    ("passed", "decided_by", "turned_down", "known", "promotes", "waits"),
    [
        (True, "gate", False, {}, True, ""),
        (False, "gate", False, {}, False, ""),
        (True, "review", False, {}, False, "waits for a reviewer"),
        (True, "gate", True, {}, False, "ada turned it down (too dull)"),
        (True, "gate", False, {"laxer_than_policy": ("guard_margin: 1.0",)}, False, "the policy of test (guard_margin"),
        (True, "gate", False, {"lost_champion": "3"}, False, "the champion on record, version 3, is gone"),
        (True, "gate", False, {"lost_anchor": "3"}, False, "the best champion on record, version 3, is gone"),
    ],
)
def test_the_same_content_is_found_again_and_named(
    passed: bool,
    decided_by: Any,
    turned_down: bool,
    known: dict[str, Any],
    promotes: bool,
    waits: str,
    world: dict[str, Any],
    in_mlflow: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named: list[tuple[str, str]] = []
    recorded: list[str] = []
    tags: list[VersionTags] = []
    no = Event(action="reject", version="7", previous=None, who="ada", reason="too dull", time="now")
    monkeypatch.setattr(mlflow, "log_text", lambda text, name: None)
    monkeypatch.setattr(registry, "tag", lambda name, version, found: tags.append(found))
    cards: list[str] = []
    monkeypatch.setattr(registry, "describe", lambda name, version, card: cards.append(card))
    monkeypatch.setattr(registry, "find_version", lambda name, content: {"c0": "7"}[content])
    monkeypatch.setattr(registry, "set_alias", lambda name, alias, version: named.append((alias, version)))
    monkeypatch.setattr(
        "ops.registry.zenml_registry.record_version",
        lambda name, version, stage, metadata, card: recorded.append(str(stage.value)),
    )
    moved: list[tuple[str, str | None]] = []
    monkeypatch.setattr(champion, "withdrawn", lambda name, version: no if turned_down else None)
    monkeypatch.setattr(
        champion, "move", lambda name, version, who, reason, expected=None: moved.append((version, expected))
    )
    policies: list[GateConfig] = []
    monkeypatch.setattr(policy, "policy_of", lambda name: policies[-1] if policies else None)
    monkeypatch.setattr(policy, "set_policy", lambda name, gate, who, reason: policies.append(gate))
    monkeypatch.setattr(anchor, "follow_champion", lambda name, version, better: named.append(("anchor", version)))
    found = promoted(world, reviewed(passed).model_copy(update=known), decided_by)
    assert policies == [GateConfig()]  # the first run's
    assert found.version == "7"
    assert found.aliases == (("challenger", "champion") if promotes else ("challenger",))
    assert named == [("challenger", "7"), *([("anchor", "7")] if promotes else [])]
    assert moved == ([("7", "")] if promotes else [])  # "": against no champion
    assert recorded == ["staging"]
    assert cards[0].startswith("# test, version 7\n")
    assert waits in found.waits
    assert bool(waits) == bool(found.waits)
    assert (tags[0].gate, tags[0].judged_against) == ("passed" if passed else "failed", "")
    assert (found.page, found.value) == ("<p/>", 0.05)  # all that was known before
    assert found.tracking_uri == mlflow.get_tracking_uri()


def test_a_review_s_commands_are_those_that_a_person_has() -> None:
    def offered(decided_by: Any = "review", passed: bool = True, **known: Any) -> list[str]:
        commands = decisions(reviewed(passed).model_copy(update=known), "7", decided_by)
        return [command.split(" --by")[0] for _, command in commands]

    assert offered() == ["rere approve 7 --model test", "rere reject 7 --model test"]
    assert offered(model="rere") == ["rere approve 7", "rere reject 7"]
    assert offered(passed=False) == ["rere reject 7 --model test", "rere promote 7 --model test"]
    assert offered("gate") == ["rere rollback --model test", "rere reject 7 --model test"]
    assert offered("gate", laxer_than_policy=("guard_margin: 1.0",)) == offered()  # a person decides
    assert offered(is_champion=True) == ["rere rollback --model test"]


def test_the_page_is_complete_once_it_names_the_version() -> None:
    review = reviewed().model_copy(update={"page": f"<h1>version {VERSION}</h1>rere approve {VERSION}"})
    assert review.page_of("7") == "<h1>version 7</h1>rere approve 7"
    known = dict(review) | {"page": review.page_of("7"), "version": "7", "aliases": ()}
    show = StageMaterializer("somewhere").pictures
    assert "review.html" not in show(review)  # nobody opens a page whose commands lack the number
    assert "version 7" in show(Promoted(**known, tracking_uri=""))["review.html"]


@pytest.mark.parametrize("moved_to", [None, "9"])
def test_a_champion_that_changes_between_gate_and_promotion_leaves_a_challenger_and_not_a_failed_run(
    moved_to: str | None, world: dict[str, Any], in_mlflow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was deleted, or somebody promoted another: the run's work is registered, and says what is to be done."""
    monkeypatch.setattr(mlflow, "log_text", lambda text, name: None)
    monkeypatch.setattr(registry, "tag", lambda name, version, found: None)
    monkeypatch.setattr(registry, "find_version", lambda name, content: "7")
    monkeypatch.setattr(registry, "get", lambda name, version: None)
    monkeypatch.setattr(registry, "set_alias", lambda name, alias, version: None)
    monkeypatch.setattr(registry, "describe", lambda name, version, card: None)
    monkeypatch.setattr(registry, "champion_version", lambda name: moved_to)
    monkeypatch.setattr("ops.registry.zenml_registry.record_version", lambda *arguments: None)
    monkeypatch.setattr("ops.registry.zenml_registry.metadata_of", lambda name, version: {"known": 1})
    monkeypatch.setattr(policy, "policy_of", lambda name: GateConfig())
    found = promoted(world, reviewed().model_copy(update={"champion": "4"}))
    assert found.aliases == ("challenger",)
    assert "version 4 as the champion of test" in found.waits
    assert ("got version 9" if moved_to else "got no version") in found.waits
    assert "run again" in found.waits


def test_the_next_commands_name_what_was_registered() -> None:
    known = dict(reviewed()) | {"model": "my shop", "version": "3", "aliases": ("challenger",)}
    challenger = Promoted(**known, tracking_uri="sqlite:///x.db", example=("it's", "7"))
    commands = dict(next_commands(challenger))
    assert "rere serve --model 'my shop' --alias challenger" in commands["serve"]
    assert shlex.split(commands["ask"])[-1] == '{"history": ["it\'s", "7"], "k": 5}'
    assert "rere approve 3 --model 'my shop'" in commands["approve"]
    assert "override" not in commands
    refused = dict(next_commands(challenger.model_copy(update={"verdict": Verdict(passed=False, checks=())})))
    assert "approve" not in refused
    assert "rere promote 3" in refused["override"]
    assert "in spite of the gate" in refused["override"]
    champion = challenger.model_copy(update={"aliases": ("challenger", "champion")})
    assert "--alias champion" in dict(next_commands(champion))["serve"]
    assert not {"approve", "override"} & set(dict(next_commands(champion)))
