"""A study on a small world: it goes on without repeating, prunes, skips what fails, and never looks at test rows."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from infra.patience import until
from pipelines.checked import settings_of
from pipelines.rere import rere_pipeline
from rere.catalog.index import CatalogIndex
from rere.config.tuning import TuningConfig
from rere.data.dataset import Dataset, Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.reporting.tuning import render_tuning
from rere.tuning import worker
from rere.tuning.importance import Importance, importances, sureness
from rere.tuning.result import result_of
from rere.tuning.run import mend_journal, run_study
from rere.tuning.space import distributions
from rere.tuning.study import INPUTS, JOURNAL, StudySpec, open_study, queue_interrupted
from rere.tuning.trial import Judged, TrialInputs, TrialSettings, run_trial, without_test
from rere.tuning.worker import comparable, problem_of, validations, work
from tests.conftest import TINY

BASE: dict[str, Any] = {
    "catalog": {"backbone": TINY.model_dump(mode="json"), "code": "prefix"},
    "item_models": {"rivals": [{"type": "sasrec", "epochs": 1, "layers": 1, "width": 16, "heads": 1}]},
    "sft": {
        "distillation": None,
        "normalisation": "vocab",
        "epochs": 1,
        "learning_rate": 3e-3,
        "batch_tokens": 64,
        "sequence_items": 8,
    },
    "rl": {"updates": 2, "prompts": 4, "device_batch_prompts": 4, "num_generations": 4, "validate_every": 1},
    "evaluation": {"beams": 10},
}
EPOCHS = {"type": "categorical", "choices": [1, 2, 3]}


@pytest.fixture
def inputs(world_dataset: Dataset, world_windows: Windows, world_catalog: CatalogIndex) -> TrialInputs:
    return TrialInputs(*without_test(world_dataset, world_windows), world_catalog)


@pytest.fixture
def prepared(tmp_path: Path, inputs: TrialInputs) -> Any:
    """Writes a study's directory, as `run_study` does, for workers of this process."""

    def prepare(start: dict[str, Any] | None = None, **tuning: Any) -> StudySpec:
        config = TuningConfig.model_validate({"stage": "item_models", **tuning})
        spec = StudySpec(config=config, settings=BASE, start_model=None, start=start)
        spec.save(tmp_path)
        inputs.save(tmp_path / INPUTS)
        return spec

    return prepare


def trials_of(directory: Path, spec: StudySpec) -> list[FrozenTrial]:
    return open_study(directory, spec).get_trials(deepcopy=False)


def test_it_goes_on_with_what_was_killed_and_repeats_nothing(tmp_path: Path, prepared: Any) -> None:
    space = {"item_models.rivals.sasrec.epochs": EPOCHS}
    spec = prepared(trials=1, space=space, start={"item_models.rivals.sasrec.epochs": "1"})
    work(tmp_path)
    [first] = trials_of(tmp_path, spec)
    assert first.params == spec.start
    assert first.value is not None

    study = open_study(tmp_path, spec)
    killed = study.ask(distributions(spec.config.space))  # its process is gone before it is over
    assert queue_interrupted(study, spec) == 1
    spec = prepared(trials=6, space=space, start=spec.start)
    work(tmp_path)
    found = trials_of(tmp_path, spec)
    assert found[0] == first
    assert found[1].state == TrialState.FAIL
    assert found[2].params == killed.params
    result = result_of(open_study(tmp_path, spec), spec)
    assert (result.interrupted, len(result.trials), result.count("judged")) == (1, 6, 6)
    # Three different trials are all that there are: the others took over an outcome, and trained nothing.
    repeated = result.trials[result.trials["note"] != ""]
    assert len(repeated) == 6 - result.trials["item_models.rivals.sasrec.epochs"].nunique()
    by_value = result.trials.groupby("item_models.rivals.sasrec.epochs")["value"].nunique()
    assert (by_value == 1).all()
    assert not list((tmp_path / "trials").iterdir())

    work(tmp_path)  # nothing is missing
    assert trials_of(tmp_path, spec) == found


def test_a_trial_fits_models_that_read_titles(inputs: TrialInputs, tmp_path: Path) -> None:
    space = {"item_models.rivals.title_knn.neighbours": {"type": "int", "low": 2, "high": 9}}
    config = TuningConfig.model_validate({"stage": "item_models", "space": space})
    settings = TrialSettings.model_validate(BASE | {"item_models": {"rivals": [{"type": "title_knn"}]}})
    judged = run_trial(settings, inputs, config, tmp_path, lambda *validation: None)
    assert 0 <= judged.chosen_by <= 1


def test_a_trial_cross_fits_its_teacher(inputs: TrialInputs, tmp_path: Path) -> None:
    """Their fits tell nobody: only those of models fitted on all users are validations of the trial."""
    models = {"rivals": ["co_occurrence"], "cross_fit": {"folds": 2}}
    settings = TrialSettings.model_validate({**BASE, "item_models": models, "rl": BASE["rl"] | {"updates": 1}})
    space = {"rl.beta": {"type": "float", "low": 0.0, "high": 0.1}}
    config = TuningConfig.model_validate({"stage": "rl", "space": space, "validation_rows": 20})
    told: list[str] = []
    run_trial(settings, inputs, config, tmp_path, lambda stage, step, value: told.append(stage))
    assert told == ["item_models", "sft", "rl", "rl"]


def test_fine_tuning_and_rl_are_tuned_pruned_and_the_best_runs(tmp_path: Path, prepared: Any) -> None:
    """The second trial learns nothing, and ends at its first validation of fine-tuning."""
    space = {
        "sft.learning_rate": {"type": "float", "low": 1e-9, "high": 0.01, "scale": "log"},
        "rl.beta": {"type": "float", "low": 0.0, "high": 0.1},
    }
    start = {"sft.learning_rate": 3e-3, "rl.beta": 0.001}
    more: dict[str, Any] = {"stage": "rl", "pruning": {"startup_trials": 1}, "space": space, "start": start}
    spec = prepared(trials=1, **more)
    work(tmp_path)
    open_study(tmp_path, spec).enqueue_trial({"sft.learning_rate": 1e-9, "rl.beta": 0.0})
    spec = prepared(trials=2, **more)
    work(tmp_path)
    judged, pruned = trials_of(tmp_path, spec)
    told = [(stage, step) for stage, step, _ in validations(judged, "rl")]
    assert told == [("item_models", 1), ("sft", 1), ("rl", 0), ("rl", 1), ("rl", 2)]
    assert [stage for stage, _, _ in validations(pruned, "rl")] == ["item_models", "sft"]
    result = result_of(open_study(tmp_path, spec), spec)
    assert result.trials["outcome"].tolist() == ["judged", "pruned"]
    assert (result.best, result.first) == (0, 0)
    assert result.trials["confirmed"].notna().tolist() == [True, False]

    best = tmp_path / "tuned.yaml"
    best.write_text(result.configuration(), encoding="utf-8")
    settings = settings_of(rere_pipeline, best)
    assert settings["sft"].learning_rate == 3e-3
    assert settings["catalog"].backbone.width == 32
    page = render_tuning(result, "Data: world.", result.configuration(), "zenml pipeline run -c best.yaml")
    assert '<code class="command">zenml pipeline run -c best.yaml</code>' in page
    assert "below the median at validation 2" in page
    assert "1 judged, 1 pruned, 0 failed" in page
    assert "src=" not in page.replace("src=&#34;", "")
    assert "http" not in page.split("</style>")[1].split("<h2>The best settings")[0]


def test_preference_training_is_tried_where_the_space_names_it_or_what_comes_before(
    tmp_path: Path, inputs: TrialInputs
) -> None:
    quick = {"updates": 1, "prompts": 4, "device_batch_prompts": 4, "validation_rows": 20}
    settings = TrialSettings.model_validate({**BASE, "rl": BASE["rl"] | {"updates": 1}, "preference": quick})
    told: list[str] = []

    def trial(name: str, stage: str, setting: str, given: TrialInputs) -> Path:
        told.clear()
        space = {setting: {"type": "float", "low": 0.1, "high": 0.2}}
        config = TuningConfig.model_validate({"stage": stage, "space": space, "validation_rows": 20})
        run_trial(settings, given, config, tmp_path / name, lambda stage, step, value: told.append(stage))
        return tmp_path / name

    whole = trial("whole", "rl", "preference.beta", inputs)
    assert list(dict.fromkeys(told)) == ["item_models", "sft", "preference", "rl"]
    preferred = Checkpoint(whole / "preference" / "model")
    assert Checkpoint(whole / "rl" / "model").facts()["start"] == preferred.identity()
    later = trial("later", "rl", "rl.beta", replace(inputs, start_model=preferred))  # made once, for all trials
    assert list(dict.fromkeys(told)) == ["item_models", "rl"]
    assert Checkpoint(later / "rl" / "model").facts()["start"] == preferred.identity()
    trial("alone", "preference", "preference.beta", replace(inputs, start_model=Checkpoint(whole / "sft" / "model")))
    assert set(told) == {"preference"}


def test_no_test_row_is_looked_at(
    tmp_path: Path, prepared: Any, inputs: TrialInputs, world_dataset: Dataset, world_windows: Windows
) -> None:
    """They are not among what workers read; with other test rows, a study is the same."""
    prepared(space={"sft.epochs": EPOCHS}, stage="sft")
    stored = TrialInputs.load(tmp_path / INPUTS, None)
    assert set(stored.windows.table["period"]) == {"train", "valid"}
    assert set(stored.dataset.interactions["period"]) == {"train", "valid"}
    table = world_windows.table.copy()
    table.loc[table["period"] == "test", "target"] = "no such item"
    other = without_test(world_dataset, replace(world_windows, table=table))[1]
    assert other.fingerprint == inputs.windows.fingerprint


def test_settings_whose_process_dies_every_time_do_not_keep_it_from_going_on(tmp_path: Path, prepared: Any) -> None:
    spec = prepared(space={"item_models.rivals.sasrec.epochs": EPOCHS})
    study = open_study(tmp_path, spec)
    killed = [study.ask(distributions(spec.config.space)).params]
    for again in (1, 1, 0):
        assert queue_interrupted(study, spec) == again
        if again:
            killed.append(study.ask(distributions(spec.config.space)).params)
    assert killed == [killed[0]] * 3
    assert [trial.state for trial in trials_of(tmp_path, spec)] == [TrialState.FAIL] * 3


def lora(target: str) -> dict[str, Any]:
    """Adaptation that can't be trained: no layer of the model is called so."""
    return {"type": "lora", "targets": [target]}


def test_settings_that_cannot_be_trained_are_counted_and_passed_over(tmp_path: Path, prepared: Any) -> None:
    choices = {"type": "categorical", "choices": [lora("nothing"), {"type": "full"}]}
    spec = prepared(trials=2, stage="sft", space={"sft.adaptation": choices})
    study = open_study(tmp_path, spec)
    for text in distributions(spec.config.space)["sft.adaptation"].choices:  # type: ignore[attr-defined]
        study.enqueue_trial({"sft.adaptation": text})
    work(tmp_path)
    result = result_of(open_study(tmp_path, spec), spec)
    assert result.trials["outcome"].tolist() == ["failed", "judged"]
    assert "nothing" in result.trials["note"][0]
    assert result.best == 1
    assert result.best_settings()["sft"]["adaptation"] == {"type": "full"}


def test_where_every_trial_fails_the_first_ones_end_it(tmp_path: Path, prepared: Any) -> None:
    choices = {"type": "categorical", "choices": [lora("nothing"), lora("nowhere")]}
    spec = prepared(trials=9, stage="sft", space={"sft.adaptation": choices})
    with pytest.raises(RereError, match="as in all trials so far"):
        work(tmp_path)
    assert len(trials_of(tmp_path, spec)) == 3


def test_processes_share_the_trials(tmp_path: Path, inputs: TrialInputs) -> None:
    directory = tmp_path / "study"
    seen: list[int] = []
    space = {"item_models.rivals.sasrec.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
    config = TuningConfig.model_validate({"stage": "item_models", "trials": 3, "processes": 2, "space": space})
    spec = StudySpec(config=config, settings=BASE, start_model=None, start=None)

    def watch(trials: Sequence[FrozenTrial]) -> None:
        seen.append(sum(trial.state.is_finished() for trial in trials))

    study = run_study(directory, spec, inputs, watch)
    assert (seen[0], seen[-1]) == (0, 3)
    result = result_of(study, spec)
    assert result.count("judged") == 3
    assert result.first is None


def test_a_later_stage_counts_for_more_and_comes_later() -> None:
    """A loss of 9 nats, then NDCG .1: the pruner sees the better of them, at a later step."""
    loss, ndcg = comparable("sft", "rl", 4, -9.0), comparable("rl", "rl", 0, 0.1)
    assert loss == (-2009.0, 20_000_004)
    assert ndcg == (0.1, 40_000_000)


def test_losses_prune_only_where_they_mean_the_same() -> None:
    same = TuningConfig.model_validate({"space": {"sft.epochs": EPOCHS}})
    code = {"type": "categorical", "choices": ["item", "title"]}
    other = TuningConfig.model_validate({"space": {"catalog.code": code}})
    assert (same.prunes("sft"), other.prunes("sft"), other.prunes("rl")) == (True, False, True)


def test_configuration_is_yaml(tmp_path: Path, prepared: Any) -> None:
    spec = prepared(trials=1, space={"item_models.rivals.sasrec.epochs": EPOCHS})
    work(tmp_path)
    text = result_of(open_study(tmp_path, spec), spec).configuration()
    epochs = yaml.safe_load(text)["parameters"]["item_models"]["rivals"][0]["epochs"]
    assert epochs in (1, 2, 3)


def test_a_trial_that_goes_on_shows_the_pruner_what_it_had_reported(tmp_path: Path, prepared: Any) -> None:
    spec = prepared(trials=1, space={"item_models.rivals.sasrec.epochs": EPOCHS}, start=None)
    study = open_study(tmp_path, spec)
    killed = study.ask(distributions(spec.config.space))
    before = comparable("item_models", "item_models", 7, 0.9)
    killed.report(*before)
    assert queue_interrupted(study, spec) == 1
    work(tmp_path)
    again = trials_of(tmp_path, spec)[1]
    assert again.state == TrialState.COMPLETE
    assert again.intermediate_values[before[1]] == before[0]
    assert len(again.intermediate_values) > 1


def test_validations_within_an_epoch_are_each_told(inputs: TrialInputs, tmp_path: Path) -> None:
    config = TuningConfig.model_validate({"stage": "sft", "space": {"sft.epochs": EPOCHS}, "validation_rows": 20})
    settings = TrialSettings.model_validate({**BASE, "sft": BASE["sft"] | {"epochs": 2, "validations_per_epoch": 2}})
    told: list[int] = []
    run_trial(settings, inputs, config, tmp_path, lambda stage, step, value: told.append(step))
    assert told == [1, 2, 3, 4]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], list[int]]:
    """Lets all trials but one fail by an error; returns the numbers of their epochs, as they come."""

    def fail_by(error: Exception) -> list[int]:
        asked: list[int] = []

        def run(settings: TrialSettings, *others: Any) -> Judged:
            asked.append(settings.sft.epochs)
            if settings.sft.epochs != 2:
                raise error
            return Judged(0.5, 0.4)

        monkeypatch.setattr(worker, "run_trial", run)
        return asked

    return fail_by


@pytest.mark.parametrize("error", [MemoryError(), ValueError("singular"), torch.OutOfMemoryError("CUDA out of memory")])
def test_whatever_a_trial_fails_by_the_study_goes_on(
    tmp_path: Path, prepared: Any, faulty: Any, error: Exception
) -> None:
    faulty(error)
    spec = prepared(trials=2, stage="sft", space={"sft.epochs": EPOCHS})
    study = open_study(tmp_path, spec)
    for epochs in ("1", "2"):
        study.enqueue_trial({"sft.epochs": epochs})
    work(tmp_path)
    result = result_of(open_study(tmp_path, spec), spec)
    assert result.trials["outcome"].tolist() == ["failed", "judged"]
    assert result.trials["note"][0] == problem_of(error)
    assert type(error).__name__ in problem_of(error)


def test_a_full_disk_is_no_trials_fault(tmp_path: Path, prepared: Any, faulty: Any) -> None:
    """The study stops, and the trial goes on in the next run."""
    faulty(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    spec = prepared(trials=2, stage="sft", space={"sft.epochs": EPOCHS}, start={"sft.epochs": "1"})
    with pytest.raises(RereError, match="No space left"):
        work(tmp_path)
    assert [trial.state for trial in trials_of(tmp_path, spec)] == [TrialState.RUNNING]
    assert queue_interrupted(open_study(tmp_path, spec), spec) == 1


def test_the_same_settings_in_two_processes_are_trained_once(
    tmp_path: Path, prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = prepared(trials=2, stage="sft", space={"sft.epochs": EPOCHS})
    study = open_study(tmp_path, spec)
    for _ in range(2):
        study.enqueue_trial({"sft.epochs": "2"})
    other = threading.Thread(target=work, args=(tmp_path,))
    trained: list[Path] = []

    def run(settings: TrialSettings, inputs: TrialInputs, config: TuningConfig, place: Path, report: Any) -> Judged:
        trained.append(place)
        if len(trained) == 1:
            other.start()
            until(lambda: len(trials_of(tmp_path, spec)) == 2 and not waiting(trials_of(tmp_path, spec)))
        return Judged(0.5, 0.4)

    monkeypatch.setattr(worker, "run_trial", run)
    work(tmp_path)
    other.join()
    assert len(trained) == 1
    assert [trial.value for trial in trials_of(tmp_path, spec)] == [0.5, 0.5]


def waiting(trials: Sequence[FrozenTrial]) -> bool:
    return any(trial.state == TrialState.WAITING for trial in trials)


def test_a_record_cut_off_goes_on_and_a_broken_one_is_named(tmp_path: Path, prepared: Any) -> None:
    spec = prepared(space={"item_models.rivals.sasrec.epochs": EPOCHS})
    open_study(tmp_path, spec).ask(distributions(spec.config.space))
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":6,"trial_')
    mend_journal(journal)
    assert journal.read_bytes() == whole
    assert len(trials_of(tmp_path, spec)) == 1
    journal.write_bytes(b"\x00\x00\n" + whole)
    with pytest.raises(RereError, match=r"line 1, which isn't JSON.*begins anew"):
        mend_journal(journal)


def test_a_file_in_place_of_the_studies_is_named(tmp_path: Path, prepared: Any, inputs: TrialInputs) -> None:
    spec = prepared(space={"item_models.rivals.sasrec.epochs": EPOCHS})
    (tmp_path / "file").touch()
    with pytest.raises(RereError, match="RERE_STUDIES_DIR"):
        run_study(tmp_path / "file" / "study", spec, inputs, lambda trials: None)


def test_trials_that_all_fail_are_seen_before_the_study_ends(tmp_path: Path, inputs: TrialInputs) -> None:
    choices = {"type": "categorical", "choices": [lora("nothing"), lora("nowhere")]}
    config = TuningConfig.model_validate({"stage": "sft", "space": {"sft.adaptation": choices}})
    spec = StudySpec(config=config, settings=BASE, start_model=None, start=None)
    states: list[list[TrialState]] = []
    with pytest.raises(RereError, match="as in all trials so far"):
        run_study(tmp_path / "study", spec, inputs, lambda trials: states.append([one.state for one in trials]))
    assert states[-1] == [TrialState.FAIL] * 3


def test_importance_tells_how_sure_it_is() -> None:
    """The metric follows one of two settings: with many trials that is sure, with five it isn't."""
    ranges: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in ("matters", "idle")}
    random = np.random.default_rng(0)

    def trials(count: int) -> list[FrozenTrial]:
        points = [dict(zip(ranges, row, strict=True)) for row in random.random((count, 2)).tolist()]
        return [create_trial(params=point, distributions=ranges, value=point["matters"] ** 2) for point in points]

    many = importances(trials(40), seed=0)
    assert list(many) == ["matters", "idle"]
    assert many["matters"].low > many["idle"].high
    assert sureness(many, 40) == "matters mattered most."
    assert importances(trials(3), seed=0) == {}
    unsure = {"a": Importance(0.6, 0.1, 0.8), "b": Importance(0.4, 0.2, 0.9)}
    assert "can’t be told from 5 judged trials" in sureness(unsure, 5)
    assert sureness({"a": Importance(1.0, 1.0, 1.0)}, 5) == ""
