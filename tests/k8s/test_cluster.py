"""The simulated Kubernetes itself, through the official client: what the pipeline's tests rely on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.k8s.cluster import SimulatedCluster
from tests.k8s.controllers import verdict
from tests.k8s.cron import times
from tests.k8s.kubelet import isolation_problem
from tests.k8s.objects import CLAIMS, CRON_JOBS, JOBS, PODS, Object, json_patch, matches_labels, merge

client = pytest.importorskip("kubernetes.client", reason="needs the k8s extra: make test-k8s installs it")
config = pytest.importorskip("kubernetes.config")

pytestmark = pytest.mark.k8s
needs_isolation = pytest.mark.skipif(bool(isolation_problem()), reason=isolation_problem() or "")
SPACE = "rere"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCluster]:
    cluster = SimulatedCluster(tmp_path_factory.mktemp("cluster"))
    cluster.namespace(SPACE)
    yield cluster
    cluster.stop()
    assert cluster.trouble == []


def job(name: str, script: str, limit: int = 0, **pod: object) -> Object:
    container = {"name": "main", "image": "any", "command": ["bash", "-c"], "args": [script]}
    container |= pod.pop("container", {})  # type: ignore[call-overload]
    spec = {"containers": [container], "restartPolicy": "Never", **pod}
    return {"metadata": {"name": name}, "spec": {"backoffLimit": limit, "template": {"metadata": {}, "spec": spec}}}


def run(cluster: SimulatedCluster, body: Object) -> tuple[Object, list[str]]:
    """A job to its end: the job, and its pods' outputs in the order they ran."""
    name = body["metadata"]["name"]
    cluster.objects.create(JOBS, SPACE, body)
    done = cluster.wait(JOBS, SPACE, name, "Complete", "Failed")
    pods = cluster.pods(SPACE, **{"job-name": name})
    return done, [cluster.log(pod) for pod in pods]


def outcome(job: Object) -> tuple[str, str]:
    [condition] = job["status"]["conditions"]
    return condition["type"], condition["reason"]


def test_the_official_client_creates_reads_patches_and_deletes(cluster: SimulatedCluster) -> None:
    api = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="facts", labels={"a": "b"}), data={"x": "1", "y": "2"})
    api.create_namespaced_config_map(SPACE, body)
    api.patch_namespaced_config_map("facts", SPACE, {"data": {"x": "3", "y": None}})
    [found] = api.list_namespaced_config_map(SPACE, label_selector="a=b").items
    assert found.data == {"x": "3"}
    assert api.list_namespaced_config_map(SPACE, label_selector="a!=b").items == []
    with pytest.raises(client.ApiException) as twice:
        api.create_namespaced_config_map(SPACE, body)
    assert twice.value.status == 409
    api.delete_namespaced_config_map("facts", SPACE)
    with pytest.raises(client.ApiException) as gone:
        api.read_namespaced_config_map("facts", SPACE)
    assert gone.value.status == 404


def test_discovery_lists_the_resources(cluster: SimulatedCluster) -> None:
    shared = config.new_client_from_config(str(cluster.kubeconfig))
    listed = client.BatchV1Api(shared).get_api_resources().resources
    assert {resource.name for resource in listed} == {"jobs", "cronjobs"}
    assert "batch" in {group.name for group in client.ApisApi(shared).get_api_versions().groups}


def test_a_stranger_is_refused_and_an_account_may_do_what_it_is_bound_to(cluster: SimulatedCluster) -> None:
    def listing(token: str) -> int:
        settings = client.Configuration()
        settings.host = f"https://127.0.0.1:{cluster.kubelet.server[1]}"
        settings.ssl_ca_cert = str(cluster.kubelet.certificate)
        settings.api_key = {"authorization": f"Bearer {token}"}
        try:
            client.CoreV1Api(client.ApiClient(settings)).list_namespaced_pod(SPACE)
        except client.ApiException as error:
            return int(error.status)
        return 200

    rbac = client.RbacAuthorizationV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    token = cluster.access.token(SPACE, "reader")
    assert (listing("nobody"), listing(token)) == (401, 403)
    rbac.create_namespaced_role(
        SPACE, {"metadata": {"name": "see"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}
    )
    subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": SPACE}]
    role = {"kind": "Role", "name": "see", "apiGroup": "rbac.authorization.k8s.io"}
    rbac.create_namespaced_role_binding(SPACE, {"metadata": {"name": "see"}, "subjects": subjects, "roleRef": role})
    assert listing(token) == 200


def test_patches() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": [1]}}) == {"a": {"c": 2, "d": [1]}}
    env = [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]
    assert merge({"env": env}, {"env": [{"name": "y", "value": "3"}]})["env"][1] == {"name": "y", "value": "3"}
    assert json_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}, {"op": "remove", "path": "/a/0"}]) == {
        "a": [2]
    }
    item = {"metadata": {"labels": {"a": "b"}}}
    assert [matches_labels(item, s) for s in ("a=b", "a==b", "a", "a!=b", "c", "a=b,c!=d")] == [1, 1, 1, 0, 0, 1]


def test_cron_expressions() -> None:
    start, day = datetime(2026, 1, 1, 10, 30, 20, tzinfo=UTC), timedelta(days=1)  # a Thursday
    assert times("*/30 * * * *", start, start + timedelta(hours=1)) == [
        datetime(2026, 1, 1, 11, 0, tzinfo=UTC),
        datetime(2026, 1, 1, 11, 30, tzinfo=UTC),
    ]
    assert times("0 3 * * 1", start, start + 7 * day) == [datetime(2026, 1, 5, 3, 0, tzinfo=UTC)]
    assert [t.day for t in times("0 0 15 * 7", start, start + 15 * day)] == [4, 11, 15]


def test_the_first_matching_rule_of_a_failure_policy_decides() -> None:
    count = {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [0]}}
    stop = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    pod: Object = {"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 42}}}]}}
    assert [verdict(rules, pod) for rules in ([stop, count], [count, stop], [])] == ["FailJob", "Count", "Count"]
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert [verdict(rules, pod) for rules in ([ignore, count], [count, ignore])] == ["Ignore", "Count"]  # type: ignore[arg-type]


@needs_isolation
def test_pods_have_their_own_name_home_app_files_and_processes(cluster: SimulatedCluster) -> None:
    script = """
    hostname; echo "$HOSTNAME"; ls -A ~ /app /tmp | tr '\\n' ' '; echo; touch ~/mine /app/mine /tmp/mine
    ls /proc | grep -c '^[0-9]'; python -c "import yaml" && echo packages
    touch /usr/x 2>&1 | grep -o 'Read-only file system'
    """
    seen = []
    for number in (1, 2):
        done, [log] = run(cluster, job(f"own-{number}", script))
        assert outcome(done)[0] == "Complete", log
        lines = log.splitlines()
        [pod] = cluster.pods(SPACE, **{"job-name": f"own-{number}"})
        assert lines[0] == lines[1] == pod["metadata"]["name"]
        assert lines[2].split()[:3] == ["/app:", "/home/pod:", "/tmp:"]  # the first two are empty
        assert "mine" not in lines[2].split()  # the first pod's files are not there
        assert int(lines[3]) < 8  # its own processes only
        assert lines[-2:] == ["packages", "Read-only file system"]
        seen.append(lines[0])
    assert seen[0] != seen[1]


@needs_isolation
def test_environment_and_files_from_secrets_config_maps_and_claims(cluster: SimulatedCluster) -> None:
    api = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    metadata = client.V1ObjectMeta(name="store")
    api.create_namespaced_secret(SPACE, client.V1Secret(metadata=metadata, data={"key": "c2VjcmV0"}))
    api.create_namespaced_config_map(SPACE, client.V1ConfigMap(metadata=metadata, data={"REGION": "here"}))
    cluster.objects.create(CLAIMS, SPACE, {"metadata": {"name": "work"}, "spec": {}})
    container = {
        "env": [
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "key"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "store"}}],
        "volumeMounts": [{"name": "work", "mountPath": "/mnt/work"}, {"name": "keys", "mountPath": "/keys"}],
    }
    volumes = [
        {"name": "work", "persistentVolumeClaim": {"claimName": "work"}},
        {"name": "keys", "secret": {"secretName": "store"}},
    ]
    script = "echo $KEY $REGION $(cat /keys/key); echo $POD >> /mnt/work/pods; wc -l < /mnt/work/pods"
    logs = [run(cluster, job(f"env-{n}", script, container=container, volumes=volumes))[1] for n in (1, 2)]
    assert logs == [["secret here secret\n1\n"], ["secret here secret\n2\n"]]  # the claim is shared


@needs_isolation
def test_a_volume_above_the_environment_does_not_hide_it(cluster: SimulatedCluster) -> None:
    above = Path(sys.prefix).parent
    mounted = {"volumeMounts": [{"name": "scratch", "mountPath": str(above)}]}
    body = job(
        "above",
        f"ls {above}; python -c 'import torch'",
        container=mounted,
        volumes=[{"name": "scratch", "emptyDir": {}}],
    )
    assert outcome(run(cluster, body)[0]) == ("Complete", "CompletionsReached")


@needs_isolation
def test_a_missing_secret_keeps_the_pod_waiting_and_says_so(cluster: SimulatedCluster) -> None:
    cluster.objects.create(JOBS, SPACE, job("lacks", "true", container={"envFrom": [{"secretRef": {"name": "no"}}]}))
    time.sleep(0.5)
    [pod] = cluster.pods(SPACE, **{"job-name": "lacks"})
    waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    assert (pod["status"]["phase"], waiting["reason"]) == ("Pending", "CreateContainerConfigError")
    assert '"no" not found' in waiting["message"]
    cluster.objects.remove(JOBS, SPACE, "lacks")
    assert cluster.pods(SPACE, **{"job-name": "lacks"}) == []


@needs_isolation
def test_a_job_is_retried_up_to_its_limit(cluster: SimulatedCluster) -> None:
    done, logs = run(cluster, job("fails", "echo try; exit 3", limit=1))
    assert outcome(done) == ("Failed", "BackoffLimitExceeded")
    assert (logs, done["status"]["failed"]) == (["try\n", "try\n"], 2)


@needs_isolation
def test_a_killed_pod_is_replaced_and_an_evicted_one_does_not_count(cluster: SimulatedCluster) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    for name, limit, end in (("killed", 1, cluster.kubelet.kill), ("evicted", 0, cluster.kubelet.evict)):
        cluster.objects.create(CLAIMS, SPACE, {"metadata": {"name": name}, "spec": {}})
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": name}}
        mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        script = "test -e /v/been && exit 0; touch /v/been; sleep 60"
        body = job(name, script, limit, container=mounts, volumes=[volume])
        body["spec"]["podFailurePolicy"] = {"rules": [rule]}
        cluster.objects.create(JOBS, SPACE, body)
        mark = cluster.kubelet.directory / "claims" / SPACE / name / "been"
        until = time.monotonic() + 10
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.05)
        end(cluster.pods(SPACE, **{"job-name": name})[0])
        assert outcome(cluster.wait(JOBS, SPACE, name, "Complete", "Failed"))[0] == "Complete"
        first = cluster.pods(SPACE, **{"job-name": name})[0]
        assert first["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


@needs_isolation
def test_the_client_streams_a_log_and_deletes_a_running_job(cluster: SimulatedCluster) -> None:
    shared = config.new_client_from_config(str(cluster.kubeconfig))
    cluster.objects.create(JOBS, SPACE, job("long", "trap 'exit 0' TERM; echo one; sleep 1; echo two; sleep 60 & wait"))
    time.sleep(0.6)
    [pod] = cluster.pods(SPACE, **{"job-name": "long"})
    stream = client.CoreV1Api(shared).read_namespaced_pod_log(
        pod["metadata"]["name"], SPACE, follow=True, _preload_content=False
    )
    lines = []
    for line in stream:
        lines += line.decode().split()
        if "two" in lines:
            break
    assert lines == ["one", "two"]
    process = cluster.kubelet.running[pod["metadata"]["uid"]]
    client.BatchV1Api(shared).delete_namespaced_job("long", SPACE, propagation_policy="Foreground")
    process.wait(timeout=10)
    assert cluster.objects.list(PODS, SPACE, "job-name=long") == []


@needs_isolation
def test_a_cron_job_fires_once_when_its_time_has_come(cluster: SimulatedCluster) -> None:
    template = {"metadata": {"labels": {"from": "cron"}}, "spec": job("x", "true")["spec"]}
    spec = {"schedule": "0 4 * * *", "jobTemplate": template}
    cluster.objects.create(CRON_JOBS, SPACE, {"metadata": {"name": "nightly"}, "spec": spec})
    time.sleep(0.4)
    assert cluster.objects.list(JOBS, SPACE, "from=cron") == []
    cluster.advance(timedelta(days=1))
    time.sleep(0.6)
    [made] = cluster.objects.list(JOBS, SPACE, "from=cron")
    assert outcome(cluster.wait(JOBS, SPACE, made["metadata"]["name"], "Complete", "Failed"))[0] == "Complete"
    assert cluster.objects.get(CRON_JOBS, SPACE, "nightly")["status"]["lastScheduleTime"].endswith("T04:00:00Z")
