"""Large artifacts that no registered version needs can go; what one needs stays, and what went is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project, copy_project, sourced

pytestmark = pytest.mark.pipeline
SCRIPT = '''
"""Two nights, of which the first led to a version; then what `rere clean` says and does."""

import json
from pathlib import Path

import mlflow
from click.testing import CliRunner
from zenml import pipeline
from zenml.client import Client
from zenml.model.utils import link_artifact_version_to_model_version

from commands.clean import command
from ops.runtime.mending import problem
from rere.config.ingest import IngestConfig
from rere.data.sources.base import source_fingerprint
from ops.runtime.base_record import BaseRecord
from steps.collect import collect, ingest_collected

ROWS, ITEMS = Path("kept.csv"), Path("kept_items.csv")
CORE = {"split": {"type": "leave_one_out"}, "k_core": 1}


@pipeline
def short():
    data = IngestConfig.model_validate({"source": {"type": "tables", "interactions": ROWS, "items": ITEMS}, **CORE})
    content = source_fingerprint(data.source)
    collected = collect(base=BaseRecord(), config=data, source_sha256=content, data_commits={}, deleted="keep")
    ingest_collected(collected=collected, config=data)


def night(rows):
    lines = [f"{user},{item},{1000000000 + n}" for n, (user, item) in enumerate(rows)]
    ROWS.write_text("\\n".join(["user_id,item_id,timestamp", *lines]) + "\\n")
    steps = Client().get_pipeline_run(short().id).steps
    made = [steps["collect"].outputs["collected"][0], steps["ingest"].outputs["dataset"][0]]
    return made, steps["ingest"].status.value


def clean(*options):
    done = CliRunner().invoke(command, ["--older-than", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def listed(text, made):
    return [str(one.uri) in text for one in made]


if __name__ == "__main__":
    ITEMS.write_text("item_id,title\\na,Moon\\nb,Star\\nc,Sun\\nd,Sky\\n")
    some = [(user, item) for user in "12345" for item in "abcd"]
    first, _ = night(some)
    second, _ = night(some[::-1])
    registry, client = mlflow.MlflowClient(), Client()
    registry.create_registered_model("rere-kept")
    model = client.create_model("rere-kept")
    for number in (1, 2):
        registry.create_model_version("rere-kept", "nowhere")
        version = client.create_model_version(model.id, name=f"v{number}")
        if number == 1:  # its rows are known by the data set's metadata alone
            link_artifact_version_to_model_version(artifact_version=first[1], model_version=version)
    said = {"young": listed(clean("1d"), second)}
    would = clean("0d")
    said |= {"would": [listed(would, first), listed(would, second)], "nothing yet": problem(second[1])}
    clean("0d", "--delete")
    said |= {"gone": [problem(one) for one in second], "there": [problem(one) for one in first]}
    third, status = night(some[::-1])
    said |= {"made again": status, "whole": [problem(one) for one in third]}
    registry.delete_model_version("rere-kept", "1")
    said["no version"] = listed(clean("0d"), first)
    print(json.dumps(said))
'''


@pytest.fixture
def own(tmp_path: Path) -> Project:
    """A project of its own: what other tests' runs left in theirs must stay."""
    root = tmp_path / "project"
    root.mkdir()
    copy_project(root)
    own = Project(root, {"PYTHONPATH": str(root), "NO_COLOR": "1", "ZENML_LOGGING_COLORS_DISABLED": "true"})
    done = own.run("python", "infra/local_stack.py")
    assert done.returncode == 0, done.stdout
    own.environment |= sourced(root / ".rere" / "env.sh")
    return own


def test_what_no_version_needs_goes_and_is_made_again_when_needed(own: Project) -> None:
    (own.root / "retention.py").write_text(SCRIPT, encoding="utf-8")
    done = own.run("python", "retention.py")
    assert done.returncode == 0, done.stdout[-6000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {
        "young": [False, False],
        "would": [[False, False], [True, True]],
        "nothing yet": None,
        "gone": ["nothing there", "nothing there"],
        "there": [None, None],
        "made again": "completed",
        "whole": [None, None],
        "no version": [True, True],
    }
