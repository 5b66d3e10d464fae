"""The smallest pipeline through ZenML's real Kubernetes orchestrator against the simulated cluster."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import timedelta

import pytest

from tests.k8s.conftest import SPACE, Platform
from tests.k8s.objects import CRON_JOBS, JOBS, ROLE_BINDINGS, SERVICE_ACCOUNTS, Object

pytestmark = pytest.mark.k8s
Done = subprocess.CompletedProcess[str]

SETTINGS = """
settings:
  docker: {parent_image: registry.example.com/rere/cpu, skip_build: true}
  orchestrator:
    job_monitoring_interval: 0.5
    pod_settings:
      env: [{name: DRILL_SECRET, valueFrom: {secretKeyRef: {name: drill, key: word}}}]
"""


def tiny(platform: Platform, name: str, by: int, more: str = "") -> Done:
    text = f"run_name: '{name}'\nparameters: {{by: {by}}}\n{SETTINGS}{more}"
    return platform.run("zenml", "pipeline", "run", "tiny.tiny", "-c", platform.config(name.split("{")[0], text))


@pytest.fixture(scope="module")
def finished(platform: Platform) -> Done:
    return tiny(platform, "tiny_whole", 1)


def test_it_runs_to_the_end(platform: Platform, finished: Done) -> None:
    assert finished.returncode == 0, finished.stdout[-3000:] + platform.logs()
    waited = platform.wait_for("tiny_whole")
    assert (waited.returncode, "tiny_whole: completed" in waited.stdout) == (0, True), waited.stdout + platform.logs()


def test_pods_are_isolated_from_each_other(platform: Platform, finished: Done) -> None:
    code = """
import json
from zenml.client import Client
steps = Client().get_pipeline_run("tiny_whole").steps
print(json.dumps([steps[name].output.load() for name in ("look", "look_2")]))
"""
    first, second = json.loads(platform.ask(code))
    names = {pod["metadata"]["name"] for pod in platform.cluster.pods(SPACE)}
    for seen in (first, second):
        assert seen["host"] == seen["variable"]
        assert seen["host"] in names
        assert seen["directory"].startswith("/app")
        assert seen["code"].startswith("/app/")  # the code came through the artifact store
        assert seen["home"] == "/home/pod"
        assert seen["found"] == ""  # what the other one left is not there
        assert int(seen["processes"]) < 10
        assert seen["secret"] == "hidden"
    assert first["host"] != second["host"]


def test_the_orchestrator_made_its_service_account_and_passed_the_token_as_a_secret(
    platform: Platform, finished: Done
) -> None:
    objects = platform.cluster.objects
    assert "zenml-service-account" in {a["metadata"]["name"] for a in objects.list(SERVICE_ACCOUNTS, SPACE)}
    [binding] = [b for b in objects.list(ROLE_BINDINGS, SPACE) if b["roleRef"]["name"] == "edit"]
    assert binding["subjects"][0]["name"] == "zenml-service-account"
    for pod in platform.cluster.pods(SPACE):
        variables = {v["name"]: v for v in pod["spec"]["containers"][0]["env"]}
        assert "value" not in variables["ZENML_STORE_API_TOKEN"]


def test_a_failed_step_gives_a_failed_run_and_a_non_zero_exit(platform: Platform) -> None:
    tiny(platform, "tiny_fails", 0)
    waited = platform.wait_for("tiny_fails")
    assert waited.returncode == 1, waited.stdout + platform.logs()
    assert "tiny_fails: failed" in waited.stdout
    assert "ZeroDivisionError" in waited.stdout
    orchestrators = [job for job in platform.cluster.objects.list(JOBS, SPACE) if "step_name" not in _labels(job)]
    outcomes = [job["status"]["conditions"][0]["type"] for job in orchestrators]
    assert outcomes == ["Complete", "Complete"]  # why CI must ask the run


def test_a_schedule_becomes_a_cron_job_that_fires_once_when_its_time_has_come(platform: Platform) -> None:
    done = tiny(platform, "tiny_{date}_{time}", 1, 'schedule: {cron_expression: "30 2 * * *"}\n')
    assert done.returncode == 0, done.stdout[-3000:]
    objects = platform.cluster.objects
    [cron] = objects.list(CRON_JOBS, SPACE)
    assert cron["spec"]["schedule"] == "30 2 * * *"
    before = len(objects.list(JOBS, SPACE))
    time.sleep(1)
    assert len(objects.list(JOBS, SPACE)) == before  # not yet
    platform.cluster.advance(timedelta(days=1))
    fired = _owned_by(platform, cron["metadata"]["uid"])
    platform.cluster.wait(JOBS, SPACE, fired["metadata"]["name"], "Complete", "Failed", timeout=1800)
    _owned_by(platform, cron["metadata"]["uid"])  # still one
    waited = platform.wait_for("latest")
    assert (waited.returncode, ": completed" in waited.stdout) == (0, True), waited.stdout + platform.logs()


def _labels(item: Object) -> dict[str, str]:
    return item["metadata"].get("labels") or {}


def _owned_by(platform: Platform, uid: str) -> Object:
    """The one job that a cron job has made."""
    until = time.monotonic() + 10
    found: list[Object] = []
    while not found and time.monotonic() < until:
        jobs = platform.cluster.objects.list(JOBS, SPACE)
        found = [job for job in jobs if uid in [ref["uid"] for ref in job["metadata"].get("ownerReferences") or []]]
        time.sleep(0.1)
    assert len(found) == 1
    return found[0]
