"""configs/k8s.yaml: what ZenML makes of it is valid, restricted, limited, and on the nodes that it should be on."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.integrations.kubernetes.flavors import KubernetesOrchestratorSettings
from zenml.integrations.kubernetes.pod_settings import KubernetesPodSettings

from tests.infra.chart import ROOT, named, pod_problems, render, valid

GPU_STEPS = {"sft", "rl", "evaluate"}
CONFIG = yaml.safe_load((ROOT / "configs" / "k8s.yaml").read_text(encoding="utf-8"))


def orchestrator_settings() -> list[dict[str, Any]]:
    levels = [CONFIG, *CONFIG["steps"].values()]
    return [level["settings"]["orchestrator"] for level in levels if "orchestrator" in level.get("settings", {})]


def test_settings_are_of_zenmls_classes() -> None:
    """ZenML ignores unknown keys of settings; here they are mistakes."""
    PipelineRunConfiguration.model_validate(CONFIG)
    assert set(CONFIG) <= set(PipelineRunConfiguration.model_fields)
    for settings in orchestrator_settings():
        assert set(settings) <= set(KubernetesOrchestratorSettings.model_fields)
        KubernetesOrchestratorSettings.model_validate(settings)
        for part in ("pod_settings", "orchestrator_pod_settings"):
            assert set(settings.get(part, {})) <= set(KubernetesPodSettings.model_fields)
            KubernetesPodSettings.model_validate(settings.get(part, {}))


def test_images_are_not_built_by_zenml() -> None:
    for level in [CONFIG, *CONFIG["steps"].values()]:
        docker = level.get("settings", {}).get("docker")
        assert docker is None or (docker["skip_build"] is True and docker["parent_image"])


@pytest.mark.pipeline
def test_jobs_are_valid_and_their_pods_restricted(drill: dict[str, Any]) -> None:
    jobs = drill["jobs"]["made"]
    assert set(jobs) > {"", "ingest", "promote", *GPU_STEPS}
    for name, job in jobs.items():
        # Not strict: next to the names that count, ZenML leaves null ones in the container's security context.
        valid({"apiVersion": "batch/v1", "kind": "Job", **job}, strict=False)
        assert pod_problems(job["spec"]["template"]) == [], name
        assert job["spec"]["activeDeadlineSeconds"] <= 86400


@pytest.mark.pipeline
def test_code_comes_from_the_store_also_where_a_code_repository_is_registered(drill: dict[str, Any]) -> None:
    """The network rules let no pod out to a Git server, and the image has no client of one."""
    assert drill["jobs"]["code"]
    assert all(where == {"git": False, "store": True} for where in drill["jobs"]["code"])


@pytest.mark.pipeline
def test_gpus_are_for_training_and_evaluation_only(drill: dict[str, Any]) -> None:
    for name, job in drill["jobs"]["made"].items():
        spec = job["spec"]["template"]["spec"]
        [container] = spec["containers"]
        gpu = name in GPU_STEPS
        assert container["resources"]["limits"].get("nvidia.com/gpu") == ("1" if gpu else None), name
        assert container["resources"]["requests"].get("nvidia.com/gpu") == ("1" if gpu else None), name
        assert spec["nodeSelector"] == {"rere/pool": "gpu" if gpu else "cpu"}, name
        assert container["image"].endswith("-cuda" if gpu else "-cpu"), name
        assert {t["key"] for t in spec.get("tolerations", [])} == ({"nvidia.com/gpu", "rere/spot"} if gpu else set())


@pytest.mark.pipeline
def test_an_interrupted_training_is_retried_and_finds_its_checkpoint(drill: dict[str, Any]) -> None:
    claim = named(render({}), "PersistentVolumeClaim", "rere-work")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]  # the retry may land on another node
    for name in GPU_STEPS:
        job = drill["jobs"]["made"][name]["spec"]
        spec = job["template"]["spec"]
        variables = {variable["name"]: variable.get("value") for variable in spec["containers"][0]["env"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        [volume] = [v for v in spec["volumes"] if v["name"] == mounts[variables["RERE_WORK_DIR"]]]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert job["backoffLimit"] >= CONFIG["steps"][name]["retry"]["max_retries"] >= 2
    assert drill["jobs"]["heartbeat"] is False  # a wait of hours for a node is no failure
    assert drill["jobs"]["uncached"] is True


@pytest.mark.pipeline
def test_accounts_are_those_of_the_chart(drill: dict[str, Any]) -> None:
    for name, job in drill["jobs"]["made"].items():
        spec = job["spec"]["template"]["spec"]
        assert spec["serviceAccountName"] == ("rere-step" if name else "rere-orchestrator")
        assert spec.get("automountServiceAccountToken") is (False if name else None)


@pytest.mark.pipeline
def test_the_quota_has_room_for_a_run(drill: dict[str, Any]) -> None:
    """The largest pods that may run at once, max_parallelism of them, and the orchestrator's."""
    quota = named(render({}), "ResourceQuota", "rere")["spec"]["hard"]
    jobs = dict(drill["jobs"]["made"])
    first = jobs.pop("")

    def amount(job: dict[str, Any], part: str, name: str) -> float:
        text = job["spec"]["template"]["spec"]["containers"][0]["resources"][part].get(name, "0")
        return float(text[:-2]) if text.endswith("Gi") else float(text[:-1]) / 1000 if text[-1] == "m" else float(text)

    for part, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")):
        largest = sorted((amount(job, part, name) for job in jobs.values()), reverse=True)
        needed = sum(largest[: CONFIG["settings"]["orchestrator"]["max_parallelism"]]) + amount(first, part, name)
        assert needed <= float(quota[f"{part}.{name}"].removesuffix("Gi")), (part, name)
