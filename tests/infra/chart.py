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
        "network": {"clients": [], "egress": {"mlflow": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]}},
    },
}


def helm() -> Any:
    return pytest.importorskip("helm_python.chart", reason="helm-python-sdk has wheels for Linux on x86-64 only")


def render(values: Object) -> list[Object]:
    """All manifests of the release `rere` in the namespace `rere`."""
    with helm().Chart.load(str(CHART)) as chart:
        texts = chart.render(values, name="rere", namespace="rere")
    return [item for text in texts.values() for item in yaml.safe_load_all(text) if item]


def named(items: list[Object], kind: str, name: str) -> Object:
    [found] = [item for item in items if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pods(items: list[Object]) -> Iterator[tuple[str, Object]]:
    """The name and pod template of each workload."""
    for item in items:
        if "template" in item.get("spec", {}):
            yield item["metadata"]["name"], item["spec"]["template"]


def valid(item: Object, strict: bool = True) -> None:
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
