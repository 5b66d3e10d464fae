"""Preference training as a stage: which steps it adds, what they hand on, and that without it nothing is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.checked import settings_of
from pipelines.preflight import preflight
from pipelines.rere import rere_pipeline
from pipelines.tune import tune_pipeline
from rere.catalog.index import CatalogIndex
from rere.config.preference import PreferenceConfig, PreferenceStageConfig
from rere.data.dataset import Windows
from rere.errors import RereError
from rere.models.checkpoint import Checkpoint
from rere.recommenders.labels import Label, to_serve
from rere.recommenders.trained import Trained
from steps.preference import prefer

Place = Any  # before_rl, beside_rl or instead_of_rl
Step = tuple[dict[str, str], dict[str, Any]]  # input -> the step that it comes from; parameters
ASKED = {"negatives": 2, "updates": 1}
TOLD = {"check_backbone", "gate"}  # have the settings of preference training as parameters


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    """A source whose files are there; nobody reads them."""
    paths = {name: tmp_path / f"{name}.csv" for name in ("interactions", "items")}
    for path in paths.values():
        path.touch()
    return {"source": {"type": "tables", **{name: str(path) for name, path in paths.items()}}}


def steps_of(**settings: Any) -> dict[str, Step]:
    """What a run's cache keys are made of, beside the code: by step."""
    built = rere_pipeline.copy()
    built.prepare(**settings)
    invocations: dict[str, Any] = built.invocations
    found = {}
    for name, made in invocations.items():
        inputs = {given: str(artifact.invocation_id) for given, artifact in made.input_artifacts.items()}
        found[name] = (inputs, made.parameters)
    return found


def test_without_it_no_step_runs_and_no_other_is_told_of_it(tables: dict[str, Any]) -> None:
    default = steps_of(data=tables)
    assert "preference" not in default
    assert default["rl"][0]["start_model"] == "sft"
    for name, (inputs, parameters) in default.items():
        assert "preference" not in {*inputs, *inputs.values()}, name
        assert parameters.get("preference") is None, name
    assert default["gate"][1]["settings"]["preference"] is None


@pytest.mark.parametrize(
    ("place", "start", "changed"),
    [
        ("before_rl", "preference", {"rl", "evaluate", "report", "review", "promote"}),
        ("beside_rl", "sft", {"evaluate", "report", "review", "promote"}),
        ("instead_of_rl", None, {"evaluate", "report", "review", "promote"}),
    ],
)
def test_each_place_changes_the_steps_that_it_must(
    place: str, start: str | None, changed: set[str], tables: dict[str, Any]
) -> None:
    default, asked = steps_of(data=tables), steps_of(data=tables, preference={"place": place, **ASKED})
    assert asked["preference"][0] == {name: default["rl"][0][name] for name in ("windows", "catalog")} | {
        "sft_model": "sft"
    }
    assert isinstance(asked["preference"][1]["config"], PreferenceConfig)
    assert (asked["rl"][0]["start_model"] if "rl" in asked else None) == start
    others = asked.keys() - {"preference"}
    assert default.keys() - others == (set() if start else {"rl"})
    assert {name for name in others if asked[name] != default[name]} == changed | TOLD
    served = "rl" if start else "preference"
    assert asked["gate"][0]["language_model"] == served
    for judging in ("evaluate", "report", "review", "promote"):
        given = {name: origin for name, origin in asked[judging][0].items() if origin in ("preference", "rl")}
        assert given == {"preference_model": "preference"} | ({"rl_model": "rl"} if start else {})


def test_the_same_training_whatever_its_place() -> None:
    places: list[Place] = ["before_rl", "beside_rl", "instead_of_rl"]
    trainings = [PreferenceStageConfig(place=place, negatives=7).training for place in places]
    assert trainings == [PreferenceConfig(negatives=7)] * 3
    for training in trainings:  # ZenML hands to a step what was set of a parameter, and no more
        assert PreferenceConfig.model_validate(training.model_dump(exclude_unset=True)) == training


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tuning: {stage: rl, space: SPACE}\n  preference: {place: instead_of_rl}", "rl with .*place: instead_of_rl"),
        ("tuning: {stage: preference, space: SPACE}", r"tuning\.stage: preference with preference: null"),
        ("tuning: {stage: rl, space: SPACE}\n  preference: {place: beside_rl}", "RL doesn't start from it"),
        ("tuning: {stage: rl, space: SPACE}", "though preference is null"),
    ],
)
def test_a_tuning_of_what_does_not_run_is_refused(content: str, message: str, tmp_path: Path) -> None:
    space = "{preference.beta: {type: float, low: 0.1, high: 2.0}}"
    config = tmp_path / "tune.yaml"
    config.write_text(f"parameters:\n  {content.replace('SPACE', space)}\n", encoding="utf-8")
    with pytest.raises(RereError, match=message):
        preflight(settings_of(tune_pipeline, config))


def test_a_wrong_place_is_named(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("parameters: {preference: {place: before}}\n", encoding="utf-8")
    with pytest.raises(RereError, match=r"preference\.place.*did you mean `before_rl`"):
        settings_of(rere_pipeline, config)


def test_it_is_found_again_by_what_determines_its_result(
    world_windows: Windows, world_catalog: CatalogIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run goes on in the directory that this names (tests/training/test_preference.py)."""
    used: list[Path] = []

    def train(*given: Any, log: Any) -> Checkpoint:
        log({"loss": 1.0}, 1)  # no MLflow run here: goes nowhere
        used.append(given[4])
        return Checkpoint(given[4])

    monkeypatch.setattr("rere.training.preference.train.train_preference", train)
    monkeypatch.setattr(Checkpoint, "identity", lambda self: str(self.path))
    monkeypatch.setattr("ops.runtime.run_dirs.atexit.register", lambda *planned, **options: None)
    monkeypatch.setenv("RERE_WORK_DIR", str(tmp_path))
    inputs: dict[str, Any] = {"windows": world_windows, "catalog": world_catalog}
    alone = PreferenceConfig()
    for config in (alone, alone.model_copy(update={"beta": 2.0})):
        prefer.entrypoint(sft_model=Checkpoint(Path("a")), config=config, **inputs)
    in_two = PreferenceConfig.model_validate({"launcher": {"type": "local", "processes": 2}})
    prefer.entrypoint(sft_model=Checkpoint(Path("a")), config=in_two, **inputs)
    prefer.entrypoint(sft_model=Checkpoint(Path("b")), config=alone, **inputs)
    assert used[0] == used[2]
    assert len(set(used)) == 3
    assert {place.parent for place in used} == {tmp_path}


def test_what_is_served_and_what_it_is_called() -> None:
    sft, preference, rl = (Checkpoint(Path(name)) for name in ("sft", "preference", "rl"))
    assert Trained(sft, preference, rl).by_label == {Label.SFT: sft, Label.PREFERENCE: preference, Label.RL: rl}
    assert Trained(sft, preference, rl).served == (Label.RL, rl)
    assert Trained(sft, preference).served == (Label.PREFERENCE, preference)
    assert Trained(sft, rl=rl).served == (Label.RL, rl)
    for trained in (Trained(sft, preference, rl), Trained(sft, preference), Trained(sft, rl=rl)):
        assert to_serve(["EASE", *trained.by_label]) == trained.served[0]  # told by the table's rows alone
