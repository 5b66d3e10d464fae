"""What is compiled once and run night after night sees what is new each night, as a schedule's runs must."""

from __future__ import annotations

import json

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.pipeline
NIGHTLY = '''
"""The beginning of a retraining; the champion is what an earlier night collected."""

import json
from pathlib import Path

import ops.retraining.base
from zenml import pipeline
from zenml.client import Client
from zenml.execution.pipeline.utils import submit_pipeline
from zenml.pipelines.run_utils import create_placeholder_run

from pipelines.rere import Inputs
from pipelines.retrain import retrain_pipeline
from rere.config.catalog import IndexConfig
from rere.config.ingest import IngestConfig
from rere.config.retraining import RetrainConfig
from rere.config.rl import RLConfig
from steps.beginning import look_up_base, sum_up_inputs
from steps.collect import collect

ROWS, ITEMS = Path("nightly.csv"), Path("nightly_items.csv")
SOURCE = {"type": "tables", "interactions": ROWS, "items": ITEMS}
champion = None


@pipeline
def nightly():
    data = IngestConfig.model_validate({"source": SOURCE})
    inputs = Inputs(*sum_up_inputs(data=data, catalog=IndexConfig(), rl=RLConfig()))
    known = {"named": inputs.named, "data_commits": inputs.data_commits, "model_commits": inputs.model_commits}
    base = look_up_base(model_name="rere-nightly", config=RetrainConfig(), data=data, settings={}, **known)
    collect(
        base=base,
        config=data,
        source_sha256=inputs.source_sha256,
        data_commits=inputs.data_commits,
        deleted="keep",
    )


def night(snapshot):
    begun = create_placeholder_run(snapshot=snapshot)
    submit_pipeline(snapshot=snapshot, stack=Client().active_stack, placeholder_run=begun)
    ended = Client().get_pipeline_run(begun.id).steps
    base, collected = ended["look_up_base"].outputs["base"][0], ended["collect"].outputs["collected"][0]
    report = collected.load().report
    return [base.load().version, ended["collect"].status.value, report.new], collected


if __name__ == "__main__":
    ops.retraining.base.find_base = lambda name, version=None: champion
    ROWS.write_text("user_id,item_id,timestamp\\n1,a,1000000000\\n1,b,1000000001\\n")
    ITEMS.write_text("item_id,title\\na,Moon\\nb,Star\\n")
    schedule = nightly.create_snapshot("nightly")
    first, rows = night(schedule)
    second, _ = night(schedule)
    ROWS.write_text(ROWS.read_text() + "2,a,1000000002\\n")
    third, _ = night(schedule)
    champion = ops.retraining.base.Base("7", rows, rows, rows, rows)
    fourth, _ = night(schedule)
    retrain_pipeline.prepare()
    print(json.dumps({"nights": [first, second, third, fourth], "steps": sorted(retrain_pipeline.invocations)}))
'''


def test_a_schedule_sees_new_rows_and_another_champion(project: Project) -> None:
    (project.root / "nightly.py").write_text(NIGHTLY, encoding="utf-8")
    done = project.run("python", "nightly.py")
    assert done.returncode == 0, done.stdout[-6000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["nights"] == [
        [None, "completed", 2],
        [None, "cached", 2],
        [None, "completed", 3],
        ["7", "completed", 1],  # only the row that the champion's rows lack
    ]
    assert {"sum_up_inputs", "look_up_base", "collect", "index_items", "sft"} <= set(said["steps"])
