"""The chart is valid and closed: no root, no pod without limits, no right without need, no secret in a manifest."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import yaml

from tests.infra.chart import CHART, ROOT, VALUES, Object, helm, named, pod_problems, pods, render, valid

every_values = pytest.mark.parametrize("name", VALUES)


@cache
def rendered(name: str) -> list[Object]:
    return render(VALUES[name])


def policies(items: list[Object]) -> dict[str, Object]:
    return {item["metadata"]["name"]: item["spec"] for item in items if item["kind"] == "NetworkPolicy"}


@every_values
def test_it_is_linted(name: str) -> None:
    report = helm().lint(str(CHART), VALUES[name], strict=True, kube_version="v1.30.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []  # 1: no icon


@every_values
def test_every_manifest_is_what_kubernetes_takes(name: str) -> None:
    items = rendered(name)
    assert len(items) > 20
    for item in items:
        valid(item)
    names = [(item["kind"], item["metadata"]["name"]) for item in items]
    assert len(set(names)) == len(names)


@every_values
def test_every_pod_is_restricted_and_limited(name: str) -> None:
    found = {pod: pod_problems(template) for pod, template in pods(rendered(name))}
    assert {pod: problems for pod, problems in found.items() if problems} == {}
    assert "rere-mlflow" in found
    assert ("rere-service" in found) == (name in ("serving", "production"))
    assert ("rere-ray-head" in found) == ("ray" in VALUES[name])


def test_the_check_of_pods_can_fail() -> None:
    good = dict(pods(rendered("as given")))["rere-mlflow"]
    assert pod_problems(good) == []
    changes: tuple[tuple[Callable[[Any], object], str], ...] = (
        (lambda spec: spec["securityContext"].update(runAsNonRoot=False), "may run as root"),
        (lambda spec: spec.update(hostNetwork=True), "hostNetwork is shared"),
        (lambda spec: spec["containers"][0]["resources"].pop("limits"), "no limits of cpu"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"), "keeps capabilities"),
        (lambda spec: spec["containers"][0]["securityContext"].update(privileged=True), "may gain privileges"),
    )
    for change, problem in changes:
        bad: Any = copy.deepcopy(good)
        change(bad["spec"])
        assert problem in pod_problems(bad)


@every_values
def test_only_the_orchestrator_gets_a_token_of_the_api(name: str) -> None:
    accounts = [item for item in rendered(name) if item["kind"] == "ServiceAccount"]
    with_token = [item["metadata"]["name"] for item in accounts if item["automountServiceAccountToken"]]
    assert with_token == ["rere-orchestrator"]
    scaled = name == "ray job"  # what asks for its pods runs beside the head
    for pod, template in pods(rendered(name)):
        assert template["spec"]["automountServiceAccountToken"] is (scaled and pod == "rere-ray-head"), pod


@every_values
def test_roles_name_what_they_allow(name: str) -> None:
    items = rendered(name)
    assert not [item for item in items if item["kind"].startswith("Cluster")]
    roles = [item for item in items if item["kind"] == "Role"]
    assert len(roles) == 2
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"roles", "rolebindings", "pods/exec", "serviceaccounts/token"} & set(rule["resources"])
            if "secrets" in rule["resources"]:
                assert not {"get", "list", "watch"} & set(rule["verbs"])  # nobody reads a secret through the API
    bound = [item["roleRef"]["name"] for item in items if item["kind"] == "RoleBinding"]
    assert set(bound) <= {role["metadata"]["name"] for role in roles}


@every_values
def test_secrets_are_references(name: str) -> None:
    items = rendered(name)
    assert not [item for item in items if item["kind"] == "Secret"]
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|URI$")
    seen = set()
    for _, pod in pods(items):
        for container in pod["spec"]["containers"]:
            for variable in container.get("env") or []:
                if secret.search(variable["name"]) and variable["name"] != "MLFLOW_TRACKING_URI":
                    assert "value" not in variable, variable["name"]
                    assert variable["valueFrom"]["secretKeyRef"]["name"].startswith("rere-")
                    seen.add(variable["name"])
    assert seen >= {"MLFLOW_BACKEND_STORE_URI", "AWS_SECRET_ACCESS_KEY"}


@every_values
def test_the_network_is_closed_but_for_named_ways(name: str) -> None:
    found = policies(rendered(name))
    closed = found.pop("rere-default-deny")
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy, spec in found.items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("from") or rule.get("to"), policy  # none would be everybody
        if policy != "rere-dns":
            assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"], policy
    anywhere = [name for name, spec in found.items() if "0.0.0.0/0" in str(spec)]
    to_the_api = ["rere-from-orchestrator"] + ["rere-ray-from-ray"] * (name == "ray job")
    assert anywhere == to_the_api  # to its ports, until values name its address


def test_without_clients_nobody_outside_reaches_the_service() -> None:
    assert "ingress" in policies(rendered("serving"))["rere-to-service"]
    assert "ingress" not in policies(rendered("production"))["rere-to-service"]


def test_metrics_are_scraped_past_the_policies_with_the_clients_token() -> None:
    def entering(values: Object) -> list[str]:
        [rule] = policies(render(values))["rere-to-service"]["ingress"]
        return [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in rule["from"]]

    serving = {"enabled": True, "monitor": {"enabled": True, "labels": {"release": "prometheus"}}}
    values: Object = {"serving": serving, "network": {"clients": [], "monitoring": ["observed"]}}
    assert entering(values) == ["observed"]
    assert entering({"serving": serving, "network": {"clients": ["a"], "monitoring": ["a"]}}) == ["a"]
    items = render(values)
    monitor, service = (named(items, kind, "rere-service") for kind in ("ServiceMonitor", "Service"))
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], "/metrics")
    [container] = named(items, "Deployment", "rere-service")["spec"]["template"]["spec"]["containers"]
    [token] = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if one["name"] == "RERE_SERVE_TOKEN"]
    assert endpoint["authorization"]["credentials"] == token


def test_threads_are_as_many_as_the_container_has_cores() -> None:
    [container] = named(rendered("serving"), "Deployment", "rere-service")["spec"]["template"]["spec"]["containers"]
    config = yaml.safe_load((ROOT / "configs" / "k8s.yaml").read_text(encoding="utf-8"))["settings"]["orchestrator"]
    for env in (container["env"], config["pod_settings"]["env"]):
        [threads] = [one for one in env if one["name"] == "OMP_NUM_THREADS"]
        assert threads["valueFrom"] == {"resourceFieldRef": {"resource": "limits.cpu"}}


@pytest.mark.parametrize("replicas", [1, 2, 6])
@pytest.mark.parametrize("autoscaled", [False, True])
def test_counts_of_replicas_agree(replicas: int, autoscaled: bool) -> None:
    items = render(
        {"serving": {"enabled": True, "replicas": replicas, "autoscaling": {"enabled": autoscaled, "maxReplicas": 6}}}
    )
    deployment = named(items, "Deployment", "rere-service")["spec"]
    assert deployment.get("replicas") == (None if autoscaled else replicas)  # else an upgrade would undo the scaling
    scalers = [item["spec"] for item in items if item["kind"] == "HorizontalPodAutoscaler"]
    assert [(one["minReplicas"], one["maxReplicas"]) for one in scalers] == ([(replicas, 6)] if autoscaled else [])
    budgets = [item["spec"] for item in items if item["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == (autoscaled or replicas > 1)
    assert all(budget["maxUnavailable"] == 1 for budget in budgets)  # a node can be drained whatever the count


@pytest.mark.parametrize("release", ["shop", "2026.shop", "a-shop-whose-name-is-as-long-as-helm-lets-a-name-be-ab"])
def test_a_release_of_any_name_has_valid_names_that_agree(release: str) -> None:
    items = render(VALUES["serving"], release)
    by_kind: dict[str, set[str]] = {}
    for item in items:
        valid(item)
        by_kind.setdefault(item["kind"], set()).add(item["metadata"]["name"])
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in by_kind["Service"])
    assert all(len(name) <= 52 for name in by_kind["StatefulSet"])  # its pods' labels hold the name and a hash
    (start,) = {name.removesuffix("-database") for name in by_kind["StatefulSet"] if name.endswith("-database")}
    assert all(name.startswith(start) for names in by_kind.values() for name in names)
    for _, pod in pods(items):
        assert pod["spec"]["serviceAccountName"] in by_kind["ServiceAccount"]
    [container] = named(items, "Deployment", f"{start}-service")["spec"]["template"]["spec"]["containers"]
    [tracking] = [one["value"] for one in container["env"] if one["name"] == "MLFLOW_TRACKING_URI"]
    assert tracking == f"http://{start}-mlflow:5000"
    assert f"{start}-mlflow" in by_kind["Service"]


def test_a_way_has_two_ends() -> None:
    """Who may leave for a server may enter it, and the other way round; only the buckets' job is not always there."""
    found = policies(rendered("serving"))

    def peers(spec: Object, way: str, end: str) -> set[str]:
        labels = [peer.get("podSelector", {}) for rule in spec.get(way, []) for peer in rule[end]]
        return {label["matchLabels"]["app.kubernetes.io/component"] for label in labels if label}

    entering = {(p, name[8:]) for name, s in found.items() if "-to-" in name for p in peers(s, "ingress", "from")}
    leaving = {(name[10:], p) for name, s in found.items() if "-from-" in name for p in peers(s, "egress", "to")}
    assert entering == leaving
    assert ("service", "store") not in entering  # files come through MLflow
    assert ("step", "database") not in entering


def test_policies_select_pods_that_are_there() -> None:
    """The labels of policies are those of pods: of the chart's own, and of runs as configs/k8s.yaml labels them."""
    items = rendered("serving")
    config = yaml.safe_load((ROOT / "configs" / "k8s.yaml").read_text(encoding="utf-8"))["settings"]["orchestrator"]
    labels = [config[which]["labels"] for which in ("pod_settings", "orchestrator_pod_settings")]
    labels += [pod["metadata"]["labels"] for _, pod in pods(items)]
    for name, spec in policies(items).items():
        wanted = spec["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= label.items() for label in labels), name


def test_ray_and_the_steps_that_drive_it_reach_one_another_and_nobody_else() -> None:
    found = policies(rendered("production"))
    ray, step = ({"podSelector": {"matchLabels": labels(part)}} for part in ("ray", "step"))
    assert found["rere-ray-to-ray"]["ingress"][0] == {"from": [ray, step]}
    assert found["rere-ray-from-ray"]["egress"] == [{"to": [ray, step]}]
    assert found["rere-ray-to-step"]["ingress"] == [{"from": [ray]}]
    assert found["rere-ray-from-step"]["egress"] == [{"to": [ray]}]
    assert not [name for name in policies(rendered("serving")) if "ray" in name]


def labels(component: str) -> Object:
    return {"app.kubernetes.io/part-of": "rere", "app.kubernetes.io/component": component}


def test_the_head_trains_nothing_and_pools_are_where_the_gpus_are() -> None:
    cluster = named(rendered("production"), "RayCluster", "rere-ray")["spec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["headGroupSpec"]["template"]["spec"]["nodeSelector"] == {"rere/pool": "cpu"}
    for pool in cluster["workerGroupSpecs"]:
        spec = pool["template"]["spec"]
        assert spec["nodeSelector"] == {"rere/pool": "gpu"}
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert ("rere/spot" in str(spec["tolerations"])) == (pool["groupName"] == "spot")
        assert {"name": "work", "persistentVolumeClaim": {"claimName": "rere-work"}} in spec["volumes"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={cluster['rayVersion']} " in pins


def test_the_service_is_probed_and_drains() -> None:
    pod = named(rendered("serving"), "Deployment", "rere-service")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/ready", "liveness": "/health", "readiness": "/ready"}
    from rere.serving.config import ServingConfig

    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + ServingConfig().drain_seconds


def test_the_service_gets_arguments_that_rere_serve_takes() -> None:
    from commands.serve import command

    [container] = named(rendered("serving"), "Deployment", "rere-service")["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "serve"
    context = command.make_context("serve", container["args"][1:])
    assert context.params["host"] == "0.0.0.0"
    assert context.params["port"] == container["ports"][0]["containerPort"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"serving": {"enabled": True, "adminToken": True}}, "serving.replicas to 1"),
        ({"store": {"bundled": False, "endpoint": "https://s3.example.com"}}, "network.egress.mlflow"),
        ({"store": {"bundled": False}, "network": {"egress": {"mlflow": [{}]}}}, "store.endpoint is needed"),
        ({"serving": {"enabled": True, "replicas": 8, "autoscaling": {"enabled": True}}}, "maxReplicas: fewer than"),
        ({"servign": {"enabled": True}}, "servign"),
        ({"serving": {"replica": 1}}, "replica"),
        ({"serving": {"replicas": "two"}}, "replicas"),
        ({"ray": {"pools": [{"name": "gpu"}]}}, "sharedMemory"),
    ],
)
def test_values_that_can_not_work_are_refused(values: Object, says: str) -> None:
    with pytest.raises(Exception, match=re.escape(says)):
        render(values)
