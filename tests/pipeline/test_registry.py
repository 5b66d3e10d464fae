"""Log by path, prove it answers, register: on a real MLflow store in a temporary directory."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from infra.ports import free_port
from ops.registry import mlflow_registry as registry
from ops.registry import run_record, servable
from ops.registry.alias import AliasSource
from ops.registry.tags import VersionTags
from ops.runtime.tracking import mlflow_log
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import build_index
from rere.config.backbone import ScratchModel
from rere.config.base import Settings
from rere.config.catalog import IndexConfig
from rere.config.served_model import ServedModelConfig
from rere.data.dataset import IngestReport, Windows
from rere.errors import RereError
from rere.evaluation.verdict import Check, Verdict
from rere.models.backbone import load_model
from rere.models.checkpoint import save_checkpoint
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.prior import Prior
from rere.reporting.model_card import CardInputs, model_card
from rere.serving.engine.item_model import ItemModelDeployment

SETTINGS = {"history_items": 2, "beams": 4, "normalisation": "vocab"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A tiny random model, logged once: its URI and its two directories."""
    place = tmp_path_factory.mktemp("registry")
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(6)], "title": list("ABCDEF")})
    backbone = ScratchModel(vocabulary=300, width=16, layers=1)
    catalog = build_index(items, IndexConfig(code=PrefixCode(), backbone=backbone))
    catalog.save(place / "catalog")
    save_checkpoint(load_model(backbone, len(catalog.tokenizer), seed=0), place / "checkpoint", [], {})
    Prior(np.arange(6), ServedModelConfig()).save(place / "prior")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("test", artifact_location=str(place / "artifacts")))
    with mlflow.start_run():
        uri = servable.log_model(*parts(place), SETTINGS, example=[["i0", "i1"], ["i2"]])
    yield SimpleNamespace(uri=uri, place=place)
    mlflow.set_tracking_uri(before)


def parts(place: Path) -> tuple[Path, Path, Path]:
    return place / "checkpoint", place / "catalog", place / "prior"


@pytest.fixture(scope="module")
def served(logged: SimpleNamespace) -> Any:
    return mlflow.pyfunc.load_model(logged.uri)


def test_answers_with_ids_titles_and_scores(served: Any) -> None:
    answer = served.predict(pd.DataFrame({"history": [["i0", "B"], ["C"]]}), params={"k": 6})
    for ids, titles, scores, unknown, problem, based_on in answer.itertuples(index=False):
        assert (unknown, problem, based_on) == ([], "", "history")
        assert sorted(ids) == [f"i{n}" for n in range(6)]  # the whole catalogue, each once
        assert titles == ["ABCDEF"[int(item[1:])] for item in ids]
        assert scores == sorted(scores, reverse=True)


def test_titles_and_ids_mean_the_same_and_only_the_last_items_count(served: Any) -> None:
    rows = [["i0", "i1"], ["A", "B"], ["i5", "i0", "i1"]]  # history_items is 2
    answer = served.predict(pd.DataFrame({"history": rows}))
    assert answer["item_ids"][0] == answer["item_ids"][1] == answer["item_ids"][2]
    assert len(answer["item_ids"][0]) == 6  # k is 10 by default, the catalogue has 6


def test_a_dict_is_one_user_as_mlflow_has_it(served: Any) -> None:
    table = served.predict(pd.DataFrame({"history": [["i0", "i1"]]}))
    assert served.predict({"history": ["i0", "i1"]}).equals(table)


NEWCOMERS = pd.DataFrame({"history": [["i0", "nope"], ["nope"], [], ["i0"]]})


def test_unknown_items_are_listed_and_who_has_no_other_gets_what_is_popular(served: Any) -> None:
    answer = served.predict(NEWCOMERS, params={"k": 3})
    assert answer["unknown"].tolist() == [["nope"], ["nope"], [], []]
    assert answer["item_ids"][0] == answer["item_ids"][3]
    assert answer["item_ids"][1] == answer["item_ids"][2] == ["i5", "i4", "i3"]
    assert answer["based_on"].tolist() == ["history", "popularity", "popularity", "history"]
    assert answer["problem"].tolist() == [""] * 4


def test_who_has_no_known_item_may_be_refused_and_spoils_no_row(logged: SimpleNamespace, tmp_path: Path) -> None:
    Prior(np.arange(6), ServedModelConfig(cold_start="refuse")).save(tmp_path / "prior")
    with mlflow.start_run():
        uri = servable.log_model(*parts(logged.place)[:2], tmp_path / "prior", SETTINGS, example=[["i0"]])
        with pytest.raises(RereError, match="3 items for each example"):  # proved before anything is registered
            servable.log_model(*parts(logged.place)[:2], tmp_path / "prior", SETTINGS, example=[["unknown"]])
    answer = mlflow.pyfunc.load_model(uri).predict(NEWCOMERS, params={"k": 3})
    assert answer["item_ids"][0] == answer["item_ids"][3]
    assert [len(ids) for ids in answer["item_ids"]] == [3, 0, 0, 3]
    assert answer["based_on"].tolist() == ["history", "", "", "history"]
    problems = answer["problem"].tolist()
    assert problems[0] == problems[3] == ""
    assert "none of them known ('nope'" in problems[1]
    assert "got an empty one" in problems[2]


def test_bad_requests_are_explained(served: Any) -> None:
    with pytest.raises(MlflowException, match=r"k of at least 1.*got 0"):
        served.predict(pd.DataFrame({"history": [["i0"]]}), params={"k": 0})
    with pytest.raises(MlflowException):  # text isn't read letter by letter
        served.predict(pd.DataFrame({"history": ["i0 i1"]}))


def test_loads_outside_the_project_with_its_own_code(logged: SimpleNamespace, tmp_path: Path) -> None:
    """A process that can't see the project answers from the code that was logged along, and unpickles nothing."""
    code = f"""
import sys
unpickled = []
sys.addaudithook(lambda event, arguments: unpickled.append(str(arguments)) if event == "pickle.find_class" else None)
sys.path = [place for place in sys.path if place not in ("", {str(Path.cwd())!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
import importlib.util, json
assert importlib.util.find_spec("rere") is None
import mlflow
model = mlflow.pyfunc.load_model({logged.uri!r})
import rere
lists = model.predict({{"history": ["i0"]}}, params={{"k": 2}})["item_ids"].tolist()
print(json.dumps([rere.__file__, lists, unpickled]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    place, lists, unpickled = json.loads(done.stdout.strip().splitlines()[-1])
    assert unpickled == []
    assert str(logged.place) in place
    assert len(lists[0]) == 2


def test_mlflows_own_server_answers(logged: SimpleNamespace, tmp_path: Path) -> None:
    """`mlflow models serve`, as docs/serving.md has it."""
    port = free_port()
    options = f"models serve -m {logged.uri} --env-manager local --port {port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *options.split()],
        env={  # as in an activated environment: mlflow starts uvicorn by its name
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        },
        stdout=(log := tmp_path / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,  # it starts a process of its own, which must end too
    )
    question = {"dataframe_records": [{"history": ["i0", "B"]}], "params": {"k": 3}}
    try:
        for _ in range(600):
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json=question, timeout=60, trust_env=False)
                break
            except httpx.ConnectError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
        else:
            pytest.fail(log.read_text())
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    assert answer.status_code == 200, answer.text
    [row] = answer.json()["predictions"]
    assert len(row["item_ids"]) == len(row["titles"]) == 3


TRAINERS = ("datasets", "great_expectations", "trl", "zenml")


def test_rere_serve_answers_without_the_trainers_packages(logged: SimpleNamespace, tmp_path: Path) -> None:
    """As where only the extra `serve` is installed: what the pipelines and trainings need can't be imported."""
    version = registry.register(logged.uri, "lean", VersionTags(fingerprint="f00"))
    registry.set_alias("lean", registry.CHAMPION, version)
    (tmp_path / ".rere").mkdir()
    code = f"""
import sys
sys.modules.update(dict.fromkeys({TRAINERS}))  # None: as if it weren't there
from commands.main import cli
cli(["serve", "--model", "lean", "--port", "0"])
"""
    server = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "RERE_PROJECT": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    said = ""
    try:
        for line in server.stdout:
            said += line
            if found := re.search(r"running on (http://\S+)", line):
                question = {"history": ["i0", "B"], "k": 3}
                answer = httpx.post(f"{found[1]}/recommend", json=question, timeout=600, trust_env=False)
                break
        else:
            pytest.fail(said)
    finally:
        server.terminate()
        server.communicate()
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["items"]) == 3


def test_versions_are_found_by_content_and_alias(logged: SimpleNamespace) -> None:
    assert registry.champion_version("tiny") is None
    assert registry.find_version("tiny", "f00") is None
    version = registry.register(logged.uri, "tiny", VersionTags(fingerprint="f00"))
    assert registry.champion_version("tiny") is None
    assert registry.find_version("tiny", "f00") == version
    assert registry.find_version("tiny", "other") is None
    registry.set_alias("tiny", registry.CHAMPION, version)
    assert registry.champion_version("tiny") == version


def test_a_version_brings_its_files_and_settings(logged: SimpleNamespace) -> None:
    version = registry.register(logged.uri, "files", VersionTags(fingerprint="f00"))
    with registry.fetched("files", version) as found:
        checkpoint, catalog = registry.read(found)
        assert found.settings == SETTINGS
        assert found.prior is not None
        assert Prior.load(found.prior).counts.tolist() == list(range(6))
        assert catalog.titles == list("ABCDEF")
        assert checkpoint is not None
    assert (checkpoint.path / "model.safetensors").exists()  # a local store's own


@contextmanager
def artifact_server(directory: Path) -> Iterator[str]:
    """An address of these files, as an MLflow server gives them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            inside = url.path.partition("/artifacts")[2] or parse_qs(url.query).get("path", [""])[0]
            place = directory / inside.strip("/")
            if place.is_dir() and "path=" in url.query:
                listed = [{"path": one.name, "is_dir": one.is_dir(), "file_size": 0} for one in place.iterdir()]
                content = json.dumps({"files": listed}).encode()
            else:
                content = place.read_bytes() if place.is_file() else b"{}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/2.0/mlflow-artifacts/artifacts"
    finally:
        server.shutdown()
        server.server_close()


def test_no_copy_of_a_model_stays_on_the_disk(
    logged: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    version = registry.register(logged.uri, "away", VersionTags(fingerprint="f00"))
    with registry.fetched("away", version) as found:
        shutil.copytree(found.catalog.parents[1], tmp_path / "store" / "model")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with artifact_server(tmp_path / "store") as address:
        client = mlflow.MlflowClient()
        client.create_registered_model("remote")
        version = str(client.create_model_version("remote", f"{address}/model").version)
        deployment = AliasSource("remote", "champion").load(version)
        assert deployment.rank([deployment.query([0], 3)])
        assert [*scratch.iterdir()] == []
        [weights] = (tmp_path / "store").rglob("model.safetensors")
        weights.write_bytes(b"altered")
        for _ in range(2):  # a service would go on like that
            with pytest.raises(RereError, match=r"model\.safetensors"):
                AliasSource("remote", "champion").load(version)
        assert [*scratch.iterdir()] == []


def test_an_item_model_is_logged_registered_and_loaded_without_a_checkpoint(
    logged: SimpleNamespace, tmp_path: Path
) -> None:
    sequences = [np.array([item, (item + 1) % 6]) for item in range(6)]
    model = CoOccurrence.fit(FitData(sequences, 6, [[0]], np.array([1])), CoOccurrenceConfig())
    Prior(np.full(6, 2), ServedModelConfig(candidate="best"), model, share=1.0).save(tmp_path / "prior")
    with mlflow.start_run():
        uri = servable.log_model(None, logged.place / "catalog", tmp_path / "prior", SETTINGS, example=[["i0"]])
    answer = mlflow.pyfunc.load_model(uri).predict(NEWCOMERS, params={"k": 2})
    assert [ids[0] for ids in answer["item_ids"]][::3] == ["i1", "i1"]  # what came next
    assert answer["based_on"].tolist() == ["history", "popularity", "popularity", "history"]
    version = registry.register(uri, "items", VersionTags(fingerprint="f00", serves="co_occurrence"))
    with registry.fetched("items", version) as found:
        assert (found.checkpoint, found.tags.serves) == (None, "co_occurrence")
        assert registry.read(found)[0] is None
    registry.set_alias("items", registry.CHAMPION, version)
    deployment = AliasSource("items", registry.CHAMPION).first()
    assert isinstance(deployment, ItemModelDeployment)
    [ranked] = deployment.rank([deployment.query([3], 1)]) or []
    assert ranked.items == [4]


def test_a_catalogue_of_two_items_is_logged(logged: SimpleNamespace, tmp_path: Path) -> None:
    items = pd.DataFrame({"item_id": ["i0", "i1"], "title": ["A", "B"]})
    backbone = ScratchModel(vocabulary=300, width=16, layers=1)
    catalog = build_index(items, IndexConfig(code=PrefixCode(), backbone=backbone))
    catalog.save(tmp_path / "catalog")
    save_checkpoint(load_model(backbone, len(catalog.tokenizer), seed=0), tmp_path / "checkpoint", [], {})
    Prior(np.arange(2), ServedModelConfig()).save(tmp_path / "prior")
    with mlflow.start_run():
        uri = servable.log_model(*parts(tmp_path), SETTINGS, example=[["i0"]])
    [ids] = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"history": [["i1"]]}), params={"k": 5})["item_ids"]
    assert sorted(ids) == ["i0", "i1"]


class Updates(Settings):
    """Settings of a stage."""

    updates: int


def results(updates: int) -> run_record.RunResults:
    """Of a run whose models learned for so many updates, on six prediction rows."""
    records = [
        {"model": model, "rows": rows, "metric": name, "mean": mean, "low": mean - 0.01, "high": mean + 0.01, "n": 6}
        for model, mean in {"SFT": 0.25, "ReRe": 0.5, "item-kNN (7)": 0.125}.items()
        for rows in ("all", "warm")
        for name in ("hr@10", "ndcg@10")
    ]
    curves = [{"update": n, "reward": n / 8, "valid_ndcg@10": 0.5} for n in range(updates)]
    table = pd.DataFrame(
        {
            "row_id": range(6),
            "user_id": [f"u{n}" for n in range(6)],
            "history": [[f"i{n}"] for n in range(6)],
            "target": "i0",
            "timestamp": 0,
            "period": ["train"] * 3 + ["valid"] + ["test"] * 2,
            "warm": True,
        }
    )
    kept = {"interactions": 12, "users": 6, "items": 6}
    return run_record.RunResults(
        settings={
            "sft": {"epochs": 2},
            "rl": {"rewards": [{"type": "rule"}], "updates": 4} | dict.fromkeys(map(str, range(120))),
        },
        curves={"sft": [], "rl": curves},
        summary=pd.DataFrame(records),
        ingest=IngestReport(
            source="shop", source_sha256={"a.csv": "ab" * 32}, split="chronological", read={}, dropped={}, kept=kept
        ),
        windows=Windows(table, history_items=2),
    )


def test_a_run_holds_all_that_it_came_to_whoever_made_it(logged: SimpleNamespace) -> None:
    found = results(updates=3)
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow_log("rl", Updates(updates=4))({"reward": 0.0, "valid_ndcg@10": 0.5}, 0)  # the step logged one
        run_record.log_results(found)
        run_record.log_results(results(updates=4))  # again, as a step that is repeated does
        origin = run_record.origin(found.ingest, {"commit": "abc", "dirty": True}, "rere_pipeline-1")
        run_record.describe_run({"version": "7", **origin.written()}, "# A card")
    made = client.get_run(run.info.run_id)
    assert (made.data.params["sft.epochs"], made.data.params["rl.rewards.0.type"]) == ("2", "rule")
    assert made.data.params["rl.updates"] == "4"
    assert made.data.metrics["test/ReRe/ndcg_at_10"] == 0.5
    assert made.data.metrics["test_warm/item-kNN _7_/hr_at_10"] == 0.125
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "rl/reward")]
    assert steps == [0, 1, 2, 3]  # each once
    assert made.inputs is not None
    inputs = {one.tags[0].value: one.dataset for one in made.inputs.dataset_inputs}
    assert inputs["source"].name == "shop"
    assert inputs["testing"].digest == found.windows.fingerprint[:32]
    assert set(inputs) == {"source", "training", "validation", "testing"}
    assert inputs["source"].digest == made.data.tags["data"] == run_record.data_digest(found.ingest)
    tags = made.data.tags
    assert (tags["split"], tags["zenml_run"], tags["commit"]) == ("chronological", "rere_pipeline-1", "abc+")
    assert (tags["mlflow.source.git.commit"], tags["mlflow.note.content"]) == ("abc", "# A card")
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"settings.json", "test_metrics.csv", "model_card.md"} <= files


def test_a_version_s_card_says_what_it_is_and_how_good(logged: SimpleNamespace) -> None:
    found = results(updates=0)
    checks = [Check(name="latency", value=2.0, threshold=1.0, passed=False, explanation="Too slow.")]
    inputs = CardInputs(
        model="rere",
        version="7",
        subject="ReRe",
        summary=found.summary,
        ingest=found.ingest,
        settings={"catalog": {"backbone": {"type": "scratch", "width": 16}}},
        verdict=Verdict.of(checks),
        notes=("It is a note.",),
        commit="abc+",
    )
    card = model_card(inputs)
    for line in (
        "# rere, version 7",
        "- **Backbone**: type scratch, width 16",
        "- **Data**: shop, split chronological: 12 interactions, 6 users, 6 items",
        "- **Gate**: did not pass; latency: Too slow.",
        "- It is a note.",
        "| **ReRe** | 0.5000 [0.4900, 0.5100] | 0.5000 [0.4900, 0.5100] |",
    ):
        assert line in card.splitlines()
    assert card.index("**ReRe**") < card.index("| SFT |") < card.index("| item-kNN (7) |")  # the best first
    long = model_card(dataclasses.replace(inputs, notes=("x" * 100,) * 100))
    assert len(long) < 5_000  # what MLflow keeps
    assert long.endswith("x\n…\n")
    version = registry.register(logged.uri, "described", VersionTags())
    registry.describe("described", version, card)
    assert mlflow.MlflowClient().get_model_version("described", version).description == card
