"""Mistakes in a run configuration, in one message each, before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.batch import batch_pipeline
from pipelines.checked import settings_of
from pipelines.preflight import preflight
from pipelines.rere import rere_pipeline
from pipelines.retrain import retrain_pipeline
from pipelines.step_names import step_names
from pipelines.tune import tune_pipeline
from rere.errors import RereError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("parametrs: {}\n", r"got parametrs \(did you mean `parameters`\?\)"),
        ("sft: {}\n", r"sft \(it belongs under `parameters:`\)"),
        ("parameters: {sftt: {}}\n", r"sftt: no such setting \(did you mean `sft`\?\)"),
        ("parameters: {windows: {quite_else: 1}}\n", r"windows.quite_else: no such setting \(known: history_items\)"),
        ("parameters: 3\n", r"parameters: Input should be a valid dictionary"),
        ("- a\n- b\n", "a mapping in .*got a list"),
        ("parameters:\n\tsft: {}\n", "a tab in line 2, column 1"),
        ("parameters: {sft: {epochs: 1}\n", r"YAML in .*line 2"),
        ("parameters: {}\nparameters: {sft: {epochs: 1}}\n", "'parameters' a second time in line 2"),
        ("parameters: {data: {split: leave_one_out}}\n", r"write `split: \{type: leave_one_out\}`"),
        ("parameters: {data: {split: {type: leave_one_uot}}}\n", r"did you mean `leave_one_out`\?"),
        ("parameters: {catalog: {code: titel}}\n", r"did you mean `title`\?"),
        ("parameters: {rl: {ground_truth: off}}\n", "rl.ground_truth.*put it in quotes"),
        ("parameters: {checks: {earliest: 2001-01-01}}\n", "checks.earliest.*put it in quotes"),
        ("parameters: {checks: {earliest: soon}}\n", "'soon' is no ISO date"),
        (
            "parameters: {rl: {rewards: [{type: rule, wieght: 1}]}}\n",
            r"0.rule.wieght.*did you mean `weight`",
        ),
        ("parameters: {rl: {rewards: []}}\n", "rl.rewards: .*at least 1 item"),
        ("parameters: {rl: {learning_rate: .inf}}\n", "rl.learning_rate: Input should be a finite number"),
        ("parameters: {sft: {seed: -1}}\n", "sft.seed: Input should be greater than or equal to 0"),
        (
            "parameters: {promotion: {model_name: o'shop}}\n",
            "model_name: a model is named by up to 100",
        ),
        ("parameters: {promotion: {gate: {guards: [precision@5]}}}\n", "a metric is ndcg@K or hr@K"),
        ("parameters: {catalog: {backbone: {type: scratch, width: 32, heads: 3}}}\n", "an even multiple of heads"),
        ("steps: {sfft: {retry: {max_retries: 1}}}\n", r"steps of rere_pipeline.*sfft \(did you mean `sft`\?\)"),
        (
            "steps: {lora: {enable_cache: false}}\n",
            r"under `steps` in .*got lora \(known: baselines, .*, validate_split\)",
        ),
        ("steps: {sft: {retrry: {}}}\n", r"got sft\.retrry \(did you mean `retry`\?\)"),
        ("settings: {docker: {skip_biuld: true}}\n", r"settings\.docker\.skip_biuld \(did you mean `skip_build`\?\)"),
        ("settings: {orchestartor: {}}\n", r"settings\.orchestartor \(did you mean `orchestrator`\?\)"),
        (
            "steps: {sft: {settings: {resources: {gpu_cuont: 1}}}}\n",
            r"steps\.sft\.settings\.resources\.gpu_cuont \(did you mean `gpu_count`\?\)",
        ),
        ("enable_cache: perhaps\n", "enable_cache: Input should be a valid boolean"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_was_meant(content: str, message: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(content, encoding="utf-8")
    with pytest.raises(RereError, match=message):
        rere_pipeline.with_options(config_path=str(config))


def test_the_steps_of_each_pipeline_are_known() -> None:
    assert step_names(batch_pipeline) == {"recommend_batch", "recommend_on_ray"}
    assert step_names(retrain_pipeline) - step_names(rere_pipeline) == {"look_up_base", "collect"}
    assert {"sum_up_inputs", "ingest", "check_backbone", "sft", "rl", "promote", "summarise"} <= step_names(
        rere_pipeline
    )
    assert step_names(tune_pipeline) - step_names(rere_pipeline) == {"tune"}
    judging = {"baselines", "evaluate", "gate", "report", "review", "promote"}  # of test rows
    assert step_names(tune_pipeline) & judging == set()


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("parameters: {} # é".encode("latin-1"))
    (tmp_path / "nul.yaml").write_bytes(b"a: \0")
    for name, message in {
        ".": "Is a directory",
        "none.yaml": "No such file",
        "latin.yaml": "UTF-8",
        "nul.yaml": "YAML",
    }.items():
        with pytest.raises(RereError, match=message):
            settings_of(rere_pipeline, tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"promotion": {"gate": {"metric": "ndcg@50"}}},
            r"ndcg@50 with lists of 20.*beams to 50",
        ),
        ({"promotion": {"gate": {"guards": ["hr@21"]}}}, r"gate.guards: hr@21"),
        (
            {"rl": {"generation": "unconstrained", "normalisation": "vocab", "ground_truth": "off"}},
            r"only a title has an end",
        ),
        (
            {"catalog": {"prompt": "chat", "backbone": {"type": "hub", "id": "org/model"}}},
            "catalog.prompt: chat with sft.rows: sequence",
        ),
        (
            {
                "catalog": {"prompt": "chat", "backbone": {"type": "hub", "id": "org/model"}},
                "preference": {"prefill": {"type": "sequence"}},
            },
            "catalog.prompt: chat with preference.prefill: sequence",
        ),
        ({"sft": {"alignment": {}}}, r"sft\.alignment with catalog\.code: item and catalog\.backbone: scratch"),
        ({"catalog": {"text_columns": ["maker"]}}, r"text_columns: maker, which data\.source\.item_columns"),
        ({"rl": {"rewards": [{"type": "custom", "path": "no.such:reward"}]}}, "No module named 'no'"),
        ({"rl": {"rewards": [{"type": "custom", "path": f"{__name__}:wrong_field"}]}}, r"did you mean `rank`"),
    ],
)
def test_what_cannot_go_together_is_told_before_anything_is_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RereError, match=message):
        rere_pipeline.copy().prepare(**settings)


def wrong_field(group: Any) -> Any:
    """A reward by the name that the documentation once had."""
    return 1 / group.ranks


def test_the_configurations_that_come_along_are_sound() -> None:
    others = {"batch": batch_pipeline, "retrain": retrain_pipeline, "tune": tune_pipeline}
    for file in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")):
        settings = settings_of(others.get(file.stem, rere_pipeline), file)
        if file.stem != "batch":
            preflight(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sft": {"epochs": -1}}, r"sft\.epochs: Input should be greater than or equal to 0 \(got -1\)"),
        ({"rl": {"max_grad_nrm": 4}}, r"rl\.max_grad_nrm: no such setting \(did you mean `max_grad_norm`\?\)"),
        ({"rl": {"group": 4}}, r"rl\.group: is called `num_generations` now"),
        ({"rl": {"clip_gradient": 1}}, r"rl\.clip_gradient: is called `max_grad_norm` now"),
        ({"rl": {"reference_mixup": 1}}, r"rl\.reference_mixup: is called `ref_model_mixup_alpha` now"),
        ({"rl": {"reference_sync_updates": 1}}, r"rl\.reference_sync_updates: is called `ref_model_sync_steps` now"),
        ({"data": {"source": {"type": "tables", "items": "i.csv"}}}, r"data\.source\.tables\.interactions: Field req"),
        ({"evaluation": {"ks": [50], "beams": 20}}, r"beams \(20\) must be at least the largest k \(50\)"),
    ],
)
def test_wrong_values_are_named_with_their_place(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RereError, match=message):
        rere_pipeline.copy().prepare(**settings)
