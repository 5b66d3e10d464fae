"""The whole pipeline, smoke settings and real steps, through the simulated cluster; its RL pod is killed once."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from dataclasses import dataclass

import pytest
import yaml

from tests.k8s.conftest import SPACE, WORK, Platform
from tests.k8s.objects import Object

pytestmark = pytest.mark.k8s
UPDATES, AT_LEAST = 30, 3
RUN = "smoke_on_simulated_kubernetes"
STEPS = {
    "sum_up_inputs",
    "check_backbone",
    "ingest",
    "validate",
    "split",
    "index_items",
    "sft",
    "item_models",
    "rl",
    "baselines",
    "evaluate",
    "promote",
}


def settings(smoke: str) -> str:
    """The smoke configuration, with what a cluster needs: an image, a shared work directory, a retry of RL."""
    config = yaml.safe_load(smoke)
    config["run_name"] = RUN
    config["parameters"]["rl"] |= {"updates": UPDATES, "checkpoint_every": 1, "validate_every": UPDATES}
    orchestrator = {
        "job_monitoring_interval": 0.5,
        "max_parallelism": 2,
        "prevent_orchestrator_pod_caching": True,
        "pod_settings": {
            "env": [{"name": "RERE_WORK_DIR", "value": "/mnt/work"}, {"name": "OMP_NUM_THREADS", "value": "1"}],
            "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": WORK}}],
            "volume_mounts": [{"name": "work", "mountPath": "/mnt/work"}],
        },
    }
    docker = {"parent_image": "registry.example.com/rere/cpu", "skip_build": True}
    config["settings"] = {"docker": docker, "orchestrator": orchestrator}
    may_start_pods = {"step_pod_service_account_name": "zenml-service-account"}
    config["steps"] = {
        "rl": {"retry": {"max_retries": 1}},
        "split": {"step_operator": "k8s_step_operator", "settings": {"orchestrator": may_start_pods}},
    }
    return yaml.safe_dump(config)


@dataclass
class Drill:
    """A finished run, and where RL stood when its pod was killed."""

    done: subprocess.CompletedProcess[str]
    killed: str
    update: int


def kill_rl(platform: Platform, drill: Drill, stop: threading.Event) -> None:
    """Wait until RL has left a checkpoint, then kill its pod."""
    work = platform.cluster.kubelet.directory / "claims" / SPACE / WORK
    while not stop.wait(0.02):
        for progress in work.glob("rl-*/progress/progress.json"):
            try:
                update = int(json.loads(progress.read_text(encoding="utf-8"))["update"])
            except (OSError, ValueError):  # it is being replaced
                continue
            running = [pod for pod in rl_pods(platform) if pod["status"]["phase"] == "Running"]
            if update >= AT_LEAST and running:
                platform.cluster.kubelet.kill(running[0])
                drill.killed, drill.update = running[0]["metadata"]["name"], update
                return


def rl_pods(platform: Platform) -> list[Object]:
    return platform.cluster.pods(SPACE, step_name="rl")


@pytest.fixture(scope="module")
def drill(platform: Platform) -> Drill:
    """The run, submitted by the users' command; it waits until the orchestrator's pod has ended."""
    drill, stop = Drill(subprocess.CompletedProcess([], 1), "", 0), threading.Event()
    watcher = threading.Thread(target=kill_rl, args=(platform, drill, stop))
    watcher.start()
    smoke = (platform.root / "configs" / "smoke.yaml").read_text(encoding="utf-8")
    try:
        config = platform.config("smoke_k8s", settings(smoke))
        drill.done = platform.run("zenml", "pipeline", "run", "rere_pipeline", "-c", config)
    finally:
        stop.set()
        watcher.join()
    return drill


def test_every_step_completes(platform: Platform, drill: Drill) -> None:
    waited = platform.wait_for(RUN)
    assert waited.returncode == 0, waited.stdout + drill.done.stdout[-3000:] + platform.logs()
    code = f"""
import json
from zenml.client import Client
print(json.dumps({{name: step.status.value for name, step in Client().get_pipeline_run("{RUN}").steps.items()}}))
"""
    statuses = json.loads(platform.ask(code))
    assert set(statuses) >= STEPS
    assert set(statuses.values()) == {"completed"}


def test_the_killed_rl_pod_is_retried_and_resumes_from_its_checkpoint(platform: Platform, drill: Drill) -> None:
    first, second = rl_pods(platform)
    assert first["metadata"]["name"] == drill.killed
    assert first["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert second["status"]["phase"] == "Succeeded"
    counts = [int(count) for count in re.findall(rf"\| (\d+)/{UPDATES} ", platform.cluster.log(second))]
    assert drill.update <= counts[0] < UPDATES  # its progress bar starts where the other's ended
    assert counts[-1] == UPDATES
    work = platform.cluster.kubelet.directory / "claims" / SPACE / WORK
    assert list(work.glob("rl-*")) == []  # the checkpoint went when the training's result was stored


def test_one_step_ran_through_the_step_operator(platform: Platform, drill: Drill) -> None:
    pods = platform.cluster.pods(SPACE, step_name="split")
    jobs = [pod["metadata"]["labels"]["job-name"] for pod in pods]
    assert len(jobs) == 2
    assert sum("step-operator" in job for job in jobs) == 1


def test_the_model_is_registered_on_postgresql_and_its_files_lie_in_the_store(platform: Platform, drill: Drill) -> None:
    code = """
import json, mlflow
client = mlflow.MlflowClient()
[version] = client.search_model_versions("name='rere-smoke'")
aliases = client.get_registered_model("rere-smoke").aliases
print(json.dumps([sorted(aliases), client.get_model_version_download_uri("rere-smoke", version.version)]))
"""
    aliases, uri = json.loads(platform.ask(code))
    assert "challenger" in aliases
    assert uri.startswith("mlflow-artifacts:")


def test_no_pod_saw_the_checkout_or_another_pods_name(platform: Platform, drill: Drill) -> None:
    hosts = {pod["metadata"]["name"] for pod in platform.cluster.pods(SPACE)}
    assert len(hosts) == len(platform.cluster.pods(SPACE)) > len(STEPS)
    for pod in platform.cluster.pods(SPACE):
        assert str(platform.root) not in platform.cluster.log(pod)
