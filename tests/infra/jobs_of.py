"""The jobs that ZenML makes of a run configuration on the Kubernetes stack, as JSON: `python jobs_of.py CONFIG`.

Runs in a project whose store has the stack `rere_kubernetes`. ZenML's own code merges the settings and writes the
manifests; only what a run would fill in (image entry point, ids) is left out. The stack's store is left out as well,
so that this needs no S3 client.
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

from pipelines.rere import rere_pipeline

STACK = "rere_kubernetes"
KINDS = ("orchestrator", "container_registry", "image_builder", "experiment_tracker", "model_registry")


def job(name: str, settings: Any, pod_settings: Any, account: str, image: str, retries: int) -> Any:
    pod = build_pod_manifest(
        *(None, image, ["python"], [], settings.privileged),
        pod_settings=pod_settings,
        service_account_name=account,
        termination_grace_period_seconds=settings.pod_stop_grace_period,
    )
    made = build_job_manifest(
        name,
        pod_template_manifest_from_pod(pod),
        backoff_limit=retries + settings.backoff_limit_margin,
        ttl_seconds_after_finished=settings.ttl_seconds_after_finished,
        active_deadline_seconds=settings.active_deadline_seconds,
    )
    return ApiClient().sanitize_for_serialization(made)


def main() -> None:
    client = Client()
    part = {StackComponentType(kind): STACK for kind in KINDS}
    if not client.list_stacks(name="equals:compile").items:
        client.create_stack("compile", part | {StackComponentType.ARTIFACT_STORE: "default"})
    client.activate_stack("compile")
    pipeline = rere_pipeline.with_options(config_path=sys.argv[1])
    pipeline.prepare()
    snapshot, *_ = pipeline._compile(config_path=sys.argv[1])
    orchestrator: Any = client.active_stack.orchestrator
    of_run = orchestrator.get_settings(snapshot)
    image = snapshot.pipeline_configuration.docker_settings.parent_image
    jobs = {"": job("run", of_run, of_run.orchestrator_pod_settings, of_run.service_account_name, image, 3)}
    for name, step in snapshot.step_configurations.items():
        settings, retry = orchestrator.get_settings(step), step.config.retry
        image, account = step.config.docker_settings.parent_image, settings.step_pod_service_account_name
        jobs[name] = job("step", settings, settings.pod_settings, account, image, retry.max_retries if retry else 0)
    print(json.dumps(jobs))


if __name__ == "__main__":
    main()
