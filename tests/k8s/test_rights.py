"""The chart's accounts in the simulated cluster: what a run needs, they may; what it doesn't, they may not.

A run is submitted with the rights of the chart's submitter, and its pods are those of `configs/k8s.yaml`: accounts,
user, volumes. Every request is written down and compared with the roles.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections import defaultdict
from typing import Any

import pytest
import yaml

from tests.infra.chart import ROOT, named, render
from tests.k8s.conftest import SPACE, Platform
from tests.k8s.objects import JOBS, PODS, ROLE_BINDINGS, ROLES, SECRETS, SERVICE_ACCOUNTS, ApiError, Kind

pytestmark = pytest.mark.k8s
KINDS = {"ServiceAccount": SERVICE_ACCOUNTS, "Role": ROLES, "RoleBinding": ROLE_BINDINGS}
SUBMITTER = {"kind": "ServiceAccount", "name": "ada", "namespace": SPACE}
# Rights that this run doesn't use, and what does.
ELSEWHERE = {
    "rere-orchestrator": {
        ("jobs", "delete"),  # a run is stopped, or a step failed while others ran
        ("jobs", "list"),  # the same; or another orchestrator pod goes on with the run
    },
    "ada": {
        ("cronjobs", "create"),  # schedules
        ("cronjobs", "delete"),
        ("cronjobs", "patch"),
        ("jobs", "delete"),  # `zenml pipeline runs stop`
        ("jobs", "list"),
        ("pods", "get"),
        ("pods/log", "list"),  # no such request; a rule holds for both of its resources
        ("secrets", "delete"),  # the submission failed
        ("secrets", "patch"),  # the secret is there from an earlier try
    },
}
Asked = dict[str, set[tuple[str, str]]]


def granted(role: dict[str, Any]) -> set[tuple[str, str]]:
    return {(what, verb) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}


@pytest.fixture(scope="module")
def roles(platform: Platform) -> dict[str, dict[str, Any]]:
    """The chart's accounts and roles, put into the cluster; account to role."""
    items = render({"accounts": {"submitters": [SUBMITTER]}})
    platform.cluster.objects.create(SERVICE_ACCOUNTS, SPACE, {"metadata": {"name": "ada"}})
    for item in items:
        if item["kind"] in KINDS:
            platform.cluster.objects.create(KINDS[item["kind"]], SPACE, item)
    return {
        "rere-orchestrator": named(items, "Role", "rere-orchestrator"),
        "ada": named(items, "Role", "rere-submitter"),
    }


@pytest.fixture(scope="module")
def run(platform: Platform, roles: dict[str, Any]) -> tuple[subprocess.CompletedProcess[str], Asked]:
    """A run of the tiny pipeline, submitted by ada, and who asked what."""
    access, asked = platform.cluster.access, defaultdict(set)
    check = access.check

    def written_down(header: str, verb: str, kind: Kind, namespace: str, part: str = "") -> None:
        check(header, verb, kind, namespace, part)
        if known := access.accounts.get(header.rpartition(" ")[2]):
            asked[known[1]].add((f"{kind.plural}/{part}" if part else kind.plural, verb))

    kubeconfig = platform.root / "ada.kubeconfig"
    text = platform.cluster.kubeconfig.read_text(encoding="utf-8")
    assert access.administrator in text
    kubeconfig.write_text(text.replace(access.administrator, access.token(SPACE, "ada")), encoding="utf-8")
    ada = dataclasses.replace(platform, environment={**platform.environment, "KUBECONFIG": str(kubeconfig)})
    config = yaml.safe_load((ROOT / "configs" / "k8s.yaml").read_text(encoding="utf-8"))
    config |= {"run_name": "tiny_of_ada", "parameters": {"by": 1}, "steps": {}}
    accounts = {"service_account_name": "rere-orchestrator", "step_pod_service_account_name": "rere-step"}
    config["settings"]["orchestrator"] |= accounts | {"job_monitoring_interval": 0.5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access, "check", written_down)
        done = ada.run("zenml", "pipeline", "run", "tiny.tiny", "-c", ada.config("tiny_of_ada", yaml.safe_dump(config)))
    return done, asked


def test_a_run_completes_with_the_rights_of_the_chart(platform: Platform, run: Any) -> None:
    waited = platform.wait_for("tiny_of_ada")
    assert waited.returncode == 0, waited.stdout + run[0].stdout[-3000:] + platform.logs()


def test_steps_ask_the_api_nothing(run: Any) -> None:
    assert set(run[1]) == {"ada", "rere-orchestrator"}


@pytest.mark.parametrize("account", ELSEWHERE)
def test_every_right_is_used(account: str, roles: dict[str, Any], run: Any) -> None:
    asked = run[1][account]
    assert asked <= granted(roles[account])
    assert granted(roles[account]) - asked == ELSEWHERE[account]


def test_pods_are_of_the_user_and_the_accounts_of_the_configuration(platform: Platform, run: Any) -> None:
    pods = [pod for pod in platform.cluster.pods(SPACE) if pod["metadata"]["labels"].get("run_name") == "tiny_of_ada"]
    assert len(pods) == 4
    assert sorted(pod["spec"]["serviceAccountName"] for pod in pods) == ["rere-orchestrator", *["rere-step"] * 3]
    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods} == {10001}


@pytest.mark.parametrize(
    ("account", "verb", "kind"),
    [
        ("rere-step", "get", PODS),
        ("rere-step", "create", JOBS),
        ("rere-server", "get", SECRETS),
        ("rere-orchestrator", "get", SECRETS),
        ("rere-orchestrator", "create", ROLE_BINDINGS),
        ("ada", "get", SECRETS),
        ("ada", "create", PODS),
    ],
)
def test_more_is_forbidden(platform: Platform, roles: Any, account: str, verb: str, kind: Kind) -> None:
    access = platform.cluster.access
    with pytest.raises(ApiError, match="cannot"):
        access.check(f"Bearer {access.token(SPACE, account)}", verb, kind, SPACE)
