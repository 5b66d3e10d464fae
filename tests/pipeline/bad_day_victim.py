"""A run of two small steps under the name of ours, to be damaged, killed and stopped: copied into a project.

`run`: to its end, then all runs' states as JSON. `wait`: the second step says so and never ends.
`damage`: runs, damages what the first step made, follows the advice, loses it, follows the advice; says what happened.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

from click.testing import CliRunner
from zenml import ArtifactConfig, step
from zenml.client import Client

from commands.main import cli
from ops.registry.stages import Judged, StageMaterializer
from pipelines.checked import checked_pipeline
from pipelines.explain import explain_errors
from rere.errors import RereError
from rere.evaluation.verdict import Verdict


@step(output_materializers=StageMaterializer)
def make() -> Annotated[Judged, ArtifactConfig(name="made")]:
    return Judged(
        model="m",
        content="1",
        champion=None,
        is_champion=False,
        verdict=Verdict(passed=True, checks=()),
        metric="hr@1",
        value=0.0,
        newest=None,
        data={},
        windows="",
        settings={},
    )


@step(enable_cache=False)
def use(made: Judged, patience: float) -> None:
    print(f"used {made.content}", flush=True)
    time.sleep(patience)


@checked_pipeline
def rere_pipeline(patience: float = 0) -> None:
    """Make a record and use it."""
    use(make(), patience)


def states() -> list[str]:
    """Of all runs and of their steps, oldest first."""
    runs = Client().list_pipeline_runs(sort_by="asc:created", hydrate=True).items
    return [f"{run.status} {' '.join(str(one.status) for one in run.steps.values())}" for run in runs]


def artifact() -> Path:
    [newest] = Client().list_artifact_versions(artifact="made", sort_by="desc:created", size=1).items
    return Path(newest.uri)


def damage() -> list[object]:
    """The outcome of each run: `whole`, or the message; the advice is followed after each message."""
    told: list[object] = []

    def go() -> None:
        try:
            rere_pipeline()
        except RereError as error:
            told.append(str(error))
            command = re.search("`rere (mend [^`]+)`", str(error))
            assert command is not None
            done = CliRunner().invoke(cli, shlex.split(command[1]))
            told.append([done.exit_code, done.output])
        else:
            told.append("whole")

    go()
    record = artifact() / "data" / "record.json"
    record.write_text(record.read_text(encoding="utf-8").replace('"1"', '"2"'), encoding="utf-8")
    go()
    go()
    shutil.rmtree(artifact())
    go()
    go()
    return told


if __name__ == "__main__":
    explain_errors()
    if sys.argv[1] == "damage":
        print(json.dumps(damage()))
    else:
        rere_pipeline(3600.0 if sys.argv[1] == "wait" else 0.0)
        print(json.dumps(states()))
