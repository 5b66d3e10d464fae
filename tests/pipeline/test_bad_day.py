"""Damaged and lost artifacts, kill -9 and Ctrl-C: what is printed works, and nothing is left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import bad_day_victim
from tests.pipeline.conftest import Project, copy_project

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of its own, whose runs nobody else looks at."""
    root = tmp_path_factory.mktemp("bad day")
    copy_project(root)
    shutil.copy2(bad_day_victim.__file__, root / "victim.py")
    environment = {"PYTHONPATH": str(root), "NO_COLOR": "1", "ZENML_LOGGING_COLORS_DISABLED": "true"}
    project = Project(root, environment)
    done = project.run("python", "infra/local_stack.py")
    assert done.returncode == 0, done.stdout
    for line in (root / ".rere" / "env.sh").read_text(encoding="utf-8").splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        environment[name] = value.strip("'")
    return project


def started(project: Project) -> subprocess.Popen[str]:
    """A run that is in its second step."""
    process = subprocess.Popen(
        [sys.executable, "victim.py", "wait"],
        cwd=project.root,
        env={**os.environ, **project.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("used 1"):
            return process
    raise AssertionError("it ended")


def last(done: subprocess.CompletedProcess[str]) -> list[Any]:
    assert done.returncode == 0, done.stdout
    found: list[Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_the_advice_for_a_damaged_and_for_a_lost_artifact_works(bad_day: Project) -> None:
    told = last(bad_day.run("python", "victim.py", "damage"))
    whole, damaged, mended, again, lost, mended_too, at_last = told
    assert (whole, again, at_last) == ("whole", "whole", "whole")
    assert "other bytes: it was altered" in damaged
    assert "nothing there" in lost
    for exit_status, output in (mended, mended_too):
        assert exit_status == 0
        assert "the next run makes it anew by make." in output
        assert output.endswith("0 artifacts are whole, 1 damaged or gone.\n")


def test_a_killed_run_is_closed_by_the_next_and_a_stopped_one_says_how_to_go_on(bad_day: Project) -> None:
    killed = started(bad_day)
    killed.kill()
    killed.wait()
    before = last(bad_day.run("python", "victim.py", "run"))
    assert before[-2].split()[0] == "failed"
    assert "running" not in " ".join(before)

    for number in (signal.SIGINT, signal.SIGTERM):
        stopped = started(bad_day)
        stopped.send_signal(number)
        said = stopped.communicate()[0]
        assert stopped.returncode == 128 + number, said
        assert "Stopped. To go on, run the same command again" in said
        assert "Traceback" not in said
        after = last(bad_day.run("python", "victim.py", "run"))
        assert len(after) == len(before) + 2
        assert after[-2].split()[0] == "failed"
        before = after

    killed = started(bad_day)
    killed.kill()
    killed.wait()
    (bad_day.root / ".rere" / "work" / "rl-0").mkdir(parents=True)
    done = bad_day.run("rere", "clean")
    assert done.returncode == 0, done.stdout
    assert "was killed: ZenML now lists it as failed." in done.stdout
    assert not Path(bad_day.root, ".rere", "work", "rl-0").exists()
