"""The nightly retraining end to end, against a ZenML server of a remote type and MLflow on PostgreSQL, S3 artifacts.

Each night brings another export, and `rere retrain` is asked as CI asks it: what it did, and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.k8s import services
from tests.pipeline.conftest import Project, copy_project
from tests.pipeline.test_retrain import CONFIG, walks

pytestmark = pytest.mark.server
MODEL, BUCKET = "rere-nightly", "rere-artifacts"
LENIENT = {  # the same gate for all: what is promoted isn't asked here
    "test": {"type": "non_inferiority", "margin": 0.9},
    "minimum_over_popularity": -1,
    "minimum_coverage_ratio": 0,
    "maximum_total_loss": 0.9,
    "guard_margin": 0.9,
    "segment_margin": 0.9,
    "maximum_popularity_rise": 1,
    "maximum_latency_ms": 1e6,
    "maximum_latency_ratio": 1e6,
    "maximum_warnings": 99,
}
REGISTER = """
from zenml.client import Client
from zenml.enums import StackComponentType as T
client = Client()
made = {T(kind): client.create_stack_component(f"nightly_{kind}", flavor, T(kind), settings).id
        for kind, flavor, settings in given}
print(client.create_stack("nightly", made).id)
"""
STATE = f"""
import json, mlflow
from zenml.client import Client
client = mlflow.MlflowClient()
versions = sorted(int(one.version) for one in client.search_model_versions("name='{MODEL}'"))
runs = Client().list_pipeline_runs(sort_by="asc:created").items
champion = client.get_model_version_by_alias("{MODEL}", "champion").version
print(json.dumps([versions, str(champion), [run.status.value for run in runs]]))
"""


class Nights:
    """A project whose stack is elsewhere, and the export that each night reads."""

    def __init__(self, project: Project) -> None:
        self.project = project
        events, self.items = walks(users=60)
        by_time, most = events.sort_values("timestamp", kind="stable"), int(0.7 * len(events))
        self.old, self.new = by_time.iloc[:most], by_time.iloc[most:]
        self.late = self.old.iloc[100:110]

    def export(self, events: pd.DataFrame, items: pd.DataFrame) -> None:
        events.to_csv(self.project.root / "events.csv", index=False)
        items.to_csv(self.project.root / "items.csv", index=False)

    def retrain(self, events: pd.DataFrame, items: pd.DataFrame, *options: str) -> tuple[int, str, dict[str, Any]]:
        """Exit status, what was said, and the outcome; empty where the night failed."""
        outcome = self.project.root / "outcome.json"
        outcome.unlink(missing_ok=True)
        self.export(events, items)
        done = self.project.run("rere", "retrain", "-c", "nightly.yaml", "--to", str(outcome), *options)
        found = json.loads(outcome.read_text(encoding="utf-8")) if outcome.is_file() else {}
        return done.returncode, done.stdout, found

    def state(self) -> list[Any]:
        """Versions and champion in MLflow, and how ZenML's runs ended."""
        return list(json.loads(self.project.ask(STATE)))


@dataclass(frozen=True)
class First:
    """What the first night read, and how it ended."""

    events: pd.DataFrame
    items: pd.DataFrame
    status: int
    said: str
    outcome: dict[str, Any]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    if problem := services.missing():
        pytest.skip(problem)
    directory = tmp_path_factory.mktemp("nightly")
    with services.remote(directory, BUCKET) as remote:
        copy_project(directory / "project")
        environment = {
            "MLFLOW_TRACKING_URI": remote.tracking,
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",  # the same sums, bit for bit, in a training that is made again
            "PYTHONPATH": str(directory / "project"),
            "ZENML_CONFIG_PATH": str(directory / "zenml-client"),
            "ZENML_LOGGING_COLORS_DISABLED": "true",
            "ZENML_STORE_URL": remote.zenml,
            "ZENML_STORE_USERNAME": "default",
            "ZENML_STORE_PASSWORD": services.PASSWORD,
        }
        project = Project(directory / "project", environment)
        project.environment["ZENML_ACTIVE_STACK_ID"] = _register(project, remote)
        content = yaml.safe_load(CONFIG.replace("INTERACTIONS", "events.csv").replace("ITEMS", "items.csv"))
        content["parameters"]["retrain"]["deleted"] = "forget"
        content["parameters"]["promotion"] = {"model_name": MODEL, "gate": LENIENT}
        (project.root / "nightly.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        yield Nights(project)


def _register(project: Project, remote: services.Remote) -> str:
    s3 = {"path": f"s3://{BUCKET}", "key": services.KEY, "secret": services.SECRET}
    components = [
        ("orchestrator", "local", {}),
        ("artifact_store", "s3", {**s3, "client_kwargs": {"endpoint_url": remote.store}}),
        ("experiment_tracker", "mlflow", {"tracking_uri": remote.tracking, "tracking_token": "tracking"}),
        ("model_registry", "mlflow", {}),
    ]
    return project.ask(f"given = {components!r}\n{REGISTER}")


@pytest.fixture(scope="module")
def first(nights: Nights) -> First:
    """The first night: the older rows but a few, which come late, and the items that these are of."""
    old = nights.old
    items = nights.items[nights.items["item_id"].isin(old["item_id"])]
    events = old.drop(nights.late.index)
    return First(events, items, *nights.retrain(events, items))


def test_without_a_champion_all_of_the_source_is_read(first: First) -> None:
    assert (first.status, first.outcome.get("type")) == (0, "promoted"), first.said[-6000:]
    assert first.outcome["why"].startswith("no champion of rere-nightly")
    assert first.outcome["new_interactions"] == len(first.events)


def test_a_version_is_made_again_from_its_record_alone(nights: Nights, first: First) -> None:
    nights.export(first.events, first.items)
    done = nights.project.run("rere", "reproduce", "1", "--model", MODEL, "--json")
    assert done.returncode == 0, done.stdout[-6000:]
    found, _ = json.JSONDecoder().raw_decode(done.stdout, done.stdout.rindex('{\n "model"'))
    assert (found["result"], found["rows"], found["before"]) == ("identical", "the same", found["after"])
    assert (found["registered_as"], found["again"]) == (f"{MODEL}-reproduced", "1")
    assert nights.state()[:2] == [[1], "1"]


def test_what_each_night_brings_has_its_reason(nights: Nights, first: First) -> None:
    items, known, old, new, late = nights.items, first.items, nights.old, nights.new, nights.late
    everything = pd.concat([old, new])
    before = nights.state()

    status, said, outcome = nights.retrain(old, known)  # late rows, and nothing else
    assert (status, outcome.get("type")) == (0, "skipped"), said[-6000:]
    assert "0 interactions are new since" in outcome["reasons"][0]
    assert f"({len(late)} came late, older than that" in outcome["reasons"][0]

    status, said, _ = nights.retrain(first.events.iloc[5:], known, "--dry-run")  # rows deleted at the source
    expected = "It would run: 5 interactions of version 1 were deleted at the source: they are to be forgotten."
    assert (status, expected in said) == (0, True), said[-6000:]

    status, said, outcome = nights.retrain(everything, items)  # new rows, of new items too
    assert (status, outcome.get("type")) == (0, "promoted"), said[-6000:]
    assert outcome["new_interactions"] == len(new)
    assert f"({len(known)} items keep their codes, {len(items) - len(known)} are new)" in outcome["start"]
    after = nights.state()
    assert after == [[1, 2], "2", [*before[2], "completed"]]

    renamed = everything.rename(columns={"timestamp": "time"})
    status, said, outcome = nights.retrain(renamed, items)  # a changed schema
    assert (status, outcome, "Traceback" in said) == (1, {}, False), said[-6000:]
    assert "Expected a column 'timestamp' in" in said

    status, said, outcome = nights.retrain(everything, items.drop(columns="title"))  # a dropped column
    assert (status, outcome, "Traceback" in said) == (1, {}, False), said[-6000:]
    assert "Expected a column 'title' in" in said

    assert nights.state() == after  # the bad nights left nothing behind
