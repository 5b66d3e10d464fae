"""The chart, rendered without a cluster, and what every pod must satisfy wherever its manifest comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "infra" / "chart"
VERSIONS = ("1.27", "1.37")  # the oldest that the chart takes, and the newest whose schemas we have
Object = dict[str, Any]

# Each has what the others leave out.
VALUES: dict[str, Object] = {
    "as given": {},
    "serving": {
        "serving": {"enabled": True, "autoscaling": {"enabled": True}},
        "accounts": {"submitters": [{"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"}]},
        "images": {"pullSecrets": ["registry"]},
    },
    "production": {
        "serving": {"enabled": True, "adminToken": True, "replicas": 1, "edits": {"storageClass": "ssd"}},
        "store": {"bundled": False, "endpoint": "https://s3.example.com"},
        "database": {"bundled": False},
        "work": {"storageClass": "shared"},
        "ray": {"enabled": True},
        "network": {
            "clients": [],
            "monitoring": [],
            "egress": {"mlflow": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]},
        },
    },
    "ray job": {"ray": {"enabled": True, "autoscaling": True, "job": {"entrypoint": "python -m benchmarks.parallel"}}},
}

# What KubeRay's ray.io/v1 has of what the chart uses; a group of workers has a template, the head's as well.
CLUSTER = {"rayVersion": str, "enableInTreeAutoscaling": bool, "autoscalerOptions": dict, "headGroupSpec": dict}
JOB = {"entrypoint": str, "submissionMode": str, "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int}
RAY: dict[str, dict[str, type]] = {
    "RayCluster": {**CLUSTER, "workerGroupSpecs": list},
    "RayJob": {**JOB, "activeDeadlineSeconds": int, "backoffLimit": int, "rayClusterSpec": dict},
    "head": {"rayStartParams": dict, "template": dict},
    "workers": {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int, "rayStartParams": dict},
    "autoscaler": {"idleTimeoutSeconds": int, "resources": dict, "securityContext": dict},
}


def helm() -> Any:
    return pytest.importorskip("helm_python.chart", reason="helm-python-sdk has wheels for Linux on x86-64 only")


def render(values: Object, release: str = "rere") -> list[Object]:
    """All manifests of a release in the namespace `rere`."""
    with helm().Chart.load(str(CHART)) as chart:
        texts = chart.render(values, name=release, namespace="rere")
    return [item for text in texts.values() for item in yaml.safe_load_all(text) if item]


def named(items: list[Object], kind: str, name: str) -> Object:
    [found] = [item for item in items if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pods(items: list[Object]) -> Iterator[tuple[str, Object]]:
    """The name and pod template of each workload."""
    for item in items:
        if "template" in item.get("spec", {}):
            yield item["metadata"]["name"], item["spec"]["template"]
        for group in ray_groups(item):
            yield f"{item['metadata']['name']}-{group.get('groupName', 'head')}", group["template"]


def ray_cluster(item: Object) -> Object | None:
    """The specification of the Ray cluster in a manifest, if it has one."""
    if item["kind"] == "RayJob":
        found: Object = item["spec"]["rayClusterSpec"]
        return found
    return item["spec"] if item["kind"] == "RayCluster" else None


def ray_groups(item: Object) -> list[Object]:
    cluster = ray_cluster(item)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]] if cluster else []


def _fits(found: Object, fields: dict[str, type]) -> None:
    assert found.keys() <= fields.keys(), found.keys() - fields.keys()
    for name, value in found.items():
        assert type(value) is fields[name], f"{name}: {value}"


def valid(item: Object, strict: bool = True) -> None:
    if cluster := ray_cluster(item):
        assert item["apiVersion"] == "ray.io/v1"
        _fits(item["spec"], RAY[item["kind"]])
        _fits(cluster, RAY["RayCluster"])
        _fits(cluster.get("autoscalerOptions", {}), RAY["autoscaler"])
        _fits(cluster["headGroupSpec"], RAY["head"])
        for group in cluster["workerGroupSpecs"]:
            _fits(group, RAY["workers"] | RAY["head"])
        for group in ray_groups(item):
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())
            pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
            valid({**pod, "metadata": {"name": "ray", **pod["metadata"]}}, strict)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(item, version, strict=strict)


def pod_problems(pod: Object) -> list[str]:
    """What keeps a pod from Kubernetes' restricted standard, and from ours: limits, a root that can't be written to."""
    spec, found = pod["spec"], []
    security = spec.get("securityContext") or {}
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        found.append("may run as root")
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("no seccomp profile")
    found += [f"{share} is shared" for share in ("hostNetwork", "hostPID", "hostIPC") if spec.get(share)]
    found += [f"volume {volume['name']} of the host" for volume in spec.get("volumes") or [] if "hostPath" in volume]
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        own, resources = container.get("securityContext") or {}, container.get("resources") or {}
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            found.append("may gain privileges")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("keeps capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append("its root can be written to")
        for part in ("requests", "limits"):
            missing = {"cpu", "memory"} - (resources.get(part) or {}).keys()
            found += [f"no {part} of {name}" for name in sorted(missing)]
    return found
