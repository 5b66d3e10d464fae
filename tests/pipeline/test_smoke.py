"""The smoke pipeline, once for real by the users' own command, and what must hold around it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.pipeline
Done = subprocess.CompletedProcess[str]
SMOKE = "configs/smoke.yaml"

VERSIONS = """
import json, mlflow
client = mlflow.MlflowClient()
aliases = client.get_registered_model("rere-smoke").aliases
versions = client.search_model_versions("name='rere-smoke'")
print(json.dumps([[v.version, sorted(a for a in aliases if str(aliases[a]) == str(v.version))] for v in versions]))
"""
WHOLE = """
import mlflow
client = mlflow.MlflowClient()
version = client.get_model_version("rere-smoke", "1")
run = client.get_run(version.tags["review_run"])
models = {name.split("/")[1] for name in run.data.metrics if name.startswith("test/")}
assert {"popularity", "SASRec", "SFT", "ReRe"} <= models, models
assert {"sft.epochs", "rl.updates", "data.source.type"} <= set(run.data.params), run.data.params
assert {name.split("/")[0] for name in run.data.metrics} >= {"sft", "rl"}, run.data.metrics
assert {one.tags[0].value for one in run.inputs.dataset_inputs} == {"source", "training", "validation", "testing"}
assert run.data.tags["version"] == "1" and run.data.tags["gate"] == version.tags["gate"]
assert version.description.startswith("# rere-smoke, version 1")
print("whole")
"""
PREFERRED = """
import mlflow
from zenml.client import Client
client = mlflow.MlflowClient()
version = client.get_model_version("rere-preferred", "1")
run = client.get_run(version.tags["review_run"])
models = {name.split("/")[1] for name in run.data.metrics if name.startswith("test/")}
assert {"SFT", "preference", "ReRe", "reasoning"} <= models, models
assert run.data.params["preference.place"] == "before_rl", run.data.params
steps = [one.step for one in client.get_metric_history(run.info.run_id, "preference/preferred")]
assert sorted(steps) == [1, 2], steps
assert "Fine-tuned on histories, then by preferences (s_dpo), then by reinforcement learning" in version.description
made = Client().get_pipeline_run(version.tags["zenml_run"]).steps
assert made["rl"].inputs["start_model"][0].id == made["preference"].outputs["preference_model"][0].id
print("whole")
"""


def versions(project: Project) -> list[tuple[str, list[str]]]:
    return [(str(version), aliases) for version, aliases in json.loads(project.ask(VERSIONS))]


def test_it_ends_with_the_table_the_decision_and_the_next_commands(smoke_run: Done) -> None:
    for text in ("NDCG@10", "popularity", "SASRec", "SFT", "ReRe", "challenger", "rere serve", "review.html"):
        assert text.lower() in smoke_run.stdout.lower(), text
    assert "make dashboard" in smoke_run.stdout
    assert "make mlflow" in smoke_run.stdout
    assert "zenml login" not in smoke_run.stdout


def test_one_version_is_registered_and_named(smoke_run: Done, project: Project) -> None:
    [(version, aliases)] = versions(project)
    assert version == "1"
    assert "challenger" in aliases


def test_zenml_has_the_model_version_with_its_stage_and_artifacts(smoke_run: Done, project: Project) -> None:
    code = """
import json
from zenml.client import Client
version = Client().get_model_version("rere-smoke", "v1")
print(json.dumps([version.stage, sorted(version.data_artifacts) + sorted(version.model_artifacts)]))
"""
    stage, artifacts = json.loads(project.ask(code))
    assert stage in ("staging", "production")
    assert {"rl_model", "catalog", "windows", "sft_model", "results", "promotion"} <= set(artifacts)


def test_the_version_s_run_is_whole_and_tagged(smoke_run: Done, project: Project) -> None:
    assert project.ask(WHOLE) == "whole"
    code = """
import json, mlflow
from zenml.client import Client
run = Client().get_pipeline_run(mlflow.MlflowClient().get_model_version("rere-smoke", "1").tags["zenml_run"])
print(json.dumps(sorted(tag.name for tag in run.tags)))
"""
    assert {"model: rere-smoke", "version: 1"} <= set(json.loads(project.ask(code)))


def test_no_artifact_is_a_pickle(smoke_run: Done, project: Project) -> None:
    code = """
import json
from zenml.client import Client
found = Client().list_artifact_versions(size=200)
print(json.dumps([[a.name, a.materializer.import_path, a.uri] for a in found]))
"""
    artifacts = json.loads(project.ask(code))
    assert len(artifacts) >= 8
    for name, materializer, uri in artifacts:
        assert "pickle" not in materializer.lower(), name
        assert [file for file in Path(uri).rglob("*") if file.suffix in (".pkl", ".pickle", ".pt", ".bin")] == []


def test_reports_are_shown_in_the_dashboard_and_lie_as_files(smoke_run: Done, project: Project) -> None:
    code = """
import json
from zenml.client import Client
found = Client().list_artifact_versions(size=200, hydrate=True)
print(json.dumps(sorted({a.name for a in found for v in (a.visualizations or []) if v.type.value == "html"})))
"""
    shown = json.loads(project.ask(code))
    assert {"data_validation", "split_validation", "report", "promotion"} <= set(shown)
    report = (project.root / "reports" / "latest.html").read_text(encoding="utf-8")
    assert "<html" in report
    assert "https://" not in report.split("<body", maxsplit=1)[0]  # opens offline


def test_the_commands_move_both_registries_and_show_the_review(smoke_run: Done, project: Project) -> None:
    def rere(*arguments: str) -> str:
        done = project.run("rere", *arguments, "--model", "rere-smoke")
        assert done.returncode == 0, done.stdout
        return done.stdout

    rere("promote", "1", "--by", "ada", "--reason", "a drill")
    listed = " ".join(rere("versions").split())
    assert "champion" in listed
    assert "by ada: a drill" in listed
    page = (project.root / rere("review").strip().split("review: ")[-1]).read_text("utf-8")
    runs = sorted(project.root.glob("reports/runs/*/review.html"))
    own = [text for text in (run.read_text("utf-8") for run in runs) if "rere-smoke 1</title>" in text]
    assert page == own[-1]  # the same in MLflow and as a file, of the last run: each times what it would serve
    assert "Promotion review: rere-smoke, version 1" in page
    assert "rere reject 1 --model rere-smoke" in page
    code = """
import json
from zenml.client import Client
version = Client().get_model_version("rere-smoke", "production")
(event,) = [value for key, value in version.run_metadata.items() if key.startswith("event.000001.")]
print(json.dumps([version.name, json.loads(event)["reason"]]))
"""
    assert json.loads(project.ask(code)) == ["v1", "a drill"]
    stands = rere("status")
    assert ", started 20" in stands
    assert "\ndrift: " in stands
    done = project.run("rere", "rollback", "--model", "rere-smoke", "--reason", "none before")
    assert done.returncode == 1
    assert "version 1, the first champion" in done.stdout


def test_a_second_run_is_served_from_the_cache_and_registers_nothing(smoke_run: Done, project: Project) -> None:
    before = versions(project)
    done = project.run_pipeline(SMOKE)
    assert done.returncode == 0, done.stdout[-4000:]
    for step in ("ingest", "validate", "split", "index_items", "sft", "rl", "baselines", "evaluate"):
        assert f"Using cached version of step `{step}`." in done.stdout, step
    assert "NDCG@10" in done.stdout
    assert versions(project) == before
    assert project.ask(WHOLE) == "whole"  # the version isn't pointed to an empty run


def test_preference_training_before_rl_and_reasoning_beside_it_have_rows_of_their_own(
    smoke_run: Done, project: Project
) -> None:
    smoke = (project.root / SMOKE).read_text(encoding="utf-8").replace("rere-smoke", "rere-preferred")
    asked = "{updates: 2, prompts: 8, device_batch_prompts: 8, validate_every: 2, validation_rows: 64}"
    reasoning = asked.replace("{", "{tokens: 3, num_generations: 2, ")
    blocks = f"  preference: {asked}\n  reasoning: {reasoning}\n"
    done = project.run_pipeline(project.config("preferred", f"{smoke}{blocks}"))
    assert done.returncode == 0, done.stdout[-6000:]
    for step in ("split", "index_items", "sft", "item_models", "baselines", "prior"):
        assert f"Using cached version of step `{step}`." in done.stdout, step
    assert "Using cached version of step `rl`." not in done.stdout
    assert project.ask(PREFERRED) == "whole"
    kept = project.run("rere", "config", "1", "--model", "rere-preferred")
    assert "place: before_rl" in kept.stdout
    assert "negatives: 3" in kept.stdout


def test_an_unknown_key_ends_the_run_with_one_message(project: Project) -> None:
    config = project.config("unknown", "parameters:\n  sft: {learning_rat: 0.1}\n")
    done = project.run_pipeline(config)
    assert done.returncode != 0
    assert "sft.learning_rat: no such setting (did you mean `learning_rate`?)" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_damaged_backbone_ends_the_run_and_registers_nothing(smoke_run: Done, project: Project) -> None:
    before = versions(project)
    smoke = (project.root / SMOKE).read_text(encoding="utf-8")
    assert "type: scratch" in smoke
    backbone = "    backbone: {type: directory, path: no/model}"
    (project.root / "no" / "model").mkdir(parents=True)
    lines = [backbone if line.strip().startswith("backbone:") else line for line in smoke.splitlines()]
    done = project.run_pipeline(project.config("missing", "\n".join(lines)))
    assert done.returncode != 0
    assert "Expected a model directory at no/model; got no config.json there." in done.stdout
    assert "Traceback" not in done.stdout
    assert versions(project) == before


def test_bad_data_end_the_run_by_their_rows_and_register_nothing(smoke_run: Done, project: Project) -> None:
    before = versions(project)
    events = "".join(f"u{n % 60},i{n % 55},{1_000_000_000 + n}\n" for n in range(600))
    (project.root / "events.csv").write_text("user_id,item_id,timestamp\n" + events + "u1,nobody,1000000700\n", "utf-8")
    titles = "".join(f"i{n},Title {n}\n" for n in range(55))
    (project.root / "titles.csv").write_text("item_id,title\n" + titles, "utf-8")
    tables = f"{{type: tables, interactions: {project.root}/events.csv, items: {project.root}/titles.csv}}"
    smoke = (project.root / SMOKE).read_text(encoding="utf-8")
    config = smoke.replace("source: {type: movielens_100k}", f"source: {tables}\n    k_core: 1")
    assert "events.csv" in config
    done = project.run_pipeline(project.config("bad", config))
    assert done.returncode != 0
    assert "items are in the catalogue: 1 failing row of 601: row" in done.stdout
    assert "item_id='nobody'" in done.stdout
    assert "Traceback" not in done.stdout
    assert versions(project) == before
    page = (project.root / "reports" / "data_validation.html").read_text(encoding="utf-8")
    assert "nobody" in page
    assert ", failed in validate, started " in project.run("rere", "status", "--model", "rere-smoke").stdout


def test_a_corrupted_artifact_ends_the_run_and_registers_nothing(smoke_run: Done, project: Project) -> None:
    before = versions(project)
    code = """
from zenml.client import Client
run = Client().get_pipeline("rere_pipeline").last_successful_run
print(run.steps["sft"].outputs["sft_model"][0].uri)
"""
    weights = Path(project.ask(code)) / "checkpoint" / "model.safetensors"
    whole = weights.read_bytes()
    smoke = (project.root / SMOKE).read_text(encoding="utf-8")
    assert "updates: 4" in smoke
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        done = project.run_pipeline(project.config("again", smoke.replace("updates: 4", "updates: 3")))
    finally:
        weights.write_bytes(whole)
    assert done.returncode != 0
    assert "got other bytes: it was altered" in done.stdout
    assert "Traceback" not in done.stdout
    assert versions(project) == before
