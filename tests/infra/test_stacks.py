"""A stack is one command, can be repeated, and has secrets by reference only."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel
from zenml.utils.secret_utils import is_secret_field, is_secret_reference

from infra.stack import DEFINITIONS, read
from rere.errors import RereError
from tests.infra.chart import ROOT, named, render

GIVEN = {"context": "c", "registry": "r", "tracking_uri": "https://m"}


def test_every_definition_can_be_read() -> None:
    assert {path.stem for path in DEFINITIONS.glob("*.yaml")} == {"local", "kubernetes"}
    assert read("local").components["orchestrator"] == {"name": "default"}
    definition = read("kubernetes", GIVEN)
    assert definition.name == "rere_kubernetes"
    assert definition.components["orchestrator"]["flavor"] == "kubernetes"
    assert "${" not in str(definition)
    assert set(definition.secrets) == {"rere-store", "rere-tracking"}


def test_settings_are_asked_for_and_unknown_ones_refused() -> None:
    with pytest.raises(RereError, match="context, registry, tracking_uri"):
        read("kubernetes")
    with pytest.raises(RereError, match="got buckett"):
        read("kubernetes", GIVEN | {"buckett": "b"})
    with pytest.raises(RereError, match="kubernetes, local"):
        read("nomad")
    command = [sys.executable, "-m", "infra.stack", "kubernetes", "--set", "context=c"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "registry, tracking_uri" in done.stderr) == (1, True)


@pytest.mark.pipeline
def test_a_missing_secret_is_named_with_the_command_that_makes_it(drill: dict[str, Any]) -> None:
    assert "zenml secret create rere-store --key=… --secret=…" in drill["stacks"]["refused"]


@pytest.mark.pipeline
def test_registering_again_changes_what_is_there(drill: dict[str, Any]) -> None:
    stacks = drill["stacks"]
    assert stacks["active"] == "rere_kubernetes"
    assert set(stacks["found"]) == {"default", "rere_kubernetes"}
    flavor, configuration = stacks["found"]["rere_kubernetes"]["orchestrator"]
    assert (flavor, configuration["kubernetes_context"]) == ("kubernetes", "second")


@pytest.mark.pipeline
def test_what_zenml_holds_secret_is_a_reference(drill: dict[str, Any]) -> None:
    from zenml.integrations.kubernetes.flavors import KubernetesOrchestratorConfig
    from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import MLFlowExperimentTrackerConfig
    from zenml.integrations.s3.flavors.s3_artifact_store_flavor import S3ArtifactStoreConfig

    kinds: dict[str, type[BaseModel]] = {
        "kubernetes": KubernetesOrchestratorConfig,
        "s3": S3ArtifactStoreConfig,
        "mlflow": MLFlowExperimentTrackerConfig,
    }
    seen = set()
    for kind, (flavor, configuration) in drill["stacks"]["found"]["rere_kubernetes"].items():
        if flavor not in kinds or kind == "model_registry":
            continue
        for field, value in configuration.items():
            if is_secret_field(kinds[flavor].model_fields[field]) and value is not None:
                assert is_secret_reference(value), f"{kind}.{field}"
                seen.add(field)
    assert seen == {"key", "secret", "tracking_token"}


@pytest.mark.parametrize("release", ["rere", "shop"])
def test_the_stack_names_accounts_namespace_and_bucket_of_the_chart(release: str) -> None:
    given = GIVEN | {"release": release}
    orchestrator = read("kubernetes", given).components["orchestrator"]["configuration"]
    items = render({}, release)
    for which in ("service_account_name", "step_pod_service_account_name"):
        named(items, "ServiceAccount", orchestrator[which])
    job = named(items, "Job", f"{release}-buckets")["spec"]["template"]["spec"]["containers"][0]
    assert read("kubernetes", GIVEN).components["artifact_store"]["configuration"]["path"][5:] in job["args"]
