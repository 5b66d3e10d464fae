"""In a project with an empty ZenML store: register the remote stacks, then make the jobs of a configuration.

`python drill.py CONFIG` prints JSON. ZenML's own code checks the components, merges the settings and writes the
manifests; only what a run would fill in (entry point, ids) is left out. The jobs are made on a stack without the S3
store, so that this needs no S3 client.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from kubernetes.client import ApiClient
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.integrations.kubernetes.manifest_utils import (
    build_job_manifest,
    build_pod_manifest,
    pod_template_manifest_from_pod,
)

from infra.stack import read, register
from pipelines.rere import rere_pipeline
from rere.errors import RereError

GIVEN = {"context": "first", "registry": "registry.example.com/rere", "tracking_uri": "https://mlflow.example.com"}
BORROWED = ("orchestrator", "container_registry", "image_builder", "experiment_tracker", "model_registry")


def stacks() -> dict[str, Any]:
    """Registering with and without the secrets, and twice with another context."""
    client = Client()
    try:
        register(read("kubernetes", GIVEN))
        refused = ""
    except RereError as error:
        refused = str(error)
    client.create_secret("rere-store", {"key": "k", "secret": "s"})
    client.create_secret("rere-tracking", {"token": "t"})
    register(read("kubernetes", GIVEN))
    register(read("kubernetes", GIVEN | {"context": "second"}))
    active = client.active_stack_model.name
    found = {}
    for stack in client.list_stacks(hydrate=True).items:
        parts = {kind.value: part[0] for kind, part in stack.components.items() if part}
        found[stack.name] = {kind: [part.flavor_name, part.configuration] for kind, part in parts.items()}
    return {"refused": refused, "active": active, "found": found}


def job(settings: Any, pod_settings: Any, account: str, image: str, backoff: int) -> Any:
    pod = build_pod_manifest(
        *(None, image, ["python"], [], settings.privileged),
        pod_settings=pod_settings,
        service_account_name=account,
        termination_grace_period_seconds=settings.pod_stop_grace_period,
    )
    made = build_job_manifest(
        "job",
        pod_template_manifest_from_pod(pod),
        backoff_limit=backoff,
        ttl_seconds_after_finished=settings.ttl_seconds_after_finished,
        active_deadline_seconds=settings.active_deadline_seconds,
    )
    return ApiClient().sanitize_for_serialization(made)


def jobs(config: str) -> dict[str, Any]:
    """The job of each step, and under "" that of the orchestrator."""
    client = Client()
    parts = {StackComponentType(kind): "rere_kubernetes" for kind in BORROWED}
    client.create_stack("compile", parts | {StackComponentType.ARTIFACT_STORE: "default"})
    client.activate_stack("compile")
    pipeline = rere_pipeline.with_options(config_path=config)
    pipeline.prepare()
    snapshot, *_ = pipeline._compile(config_path=config)
    orchestrator: Any = client.active_stack.orchestrator
    run, image = orchestrator.get_settings(snapshot), snapshot.pipeline_configuration.docker_settings.parent_image
    account = run.service_account_name
    made = {"": job(run, run.orchestrator_pod_settings, account, image, run.orchestrator_job_backoff_limit)}  # type: ignore[arg-type]
    for name, step in snapshot.step_configurations.items():
        settings, retry = orchestrator.get_settings(step), step.config.retry
        account, image = settings.step_pod_service_account_name, step.config.docker_settings.parent_image
        backoff = (retry.max_retries if retry else 0) + settings.backoff_limit_margin
        made[name] = job(settings, settings.pod_settings, account, image, backoff)  # type: ignore[arg-type]
    heartbeat = any(step.spec.enable_heartbeat for step in snapshot.step_configurations.values())
    images = [step.config.docker_settings for step in snapshot.step_configurations.values()]
    code = [
        {"git": one.allow_download_from_code_repository, "store": one.allow_download_from_artifact_store}
        for one in (snapshot.pipeline_configuration.docker_settings, *images)
    ]
    return {"made": made, "heartbeat": heartbeat, "uncached": run.prevent_orchestrator_pod_caching, "code": code}


if __name__ == "__main__":
    print(json.dumps({"stacks": stacks(), "jobs": jobs(sys.argv[1])}))
