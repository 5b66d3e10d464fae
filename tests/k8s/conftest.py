"""The simulated cluster with everything around it that is real, and a copy of the project that submits to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.k8s import services
from tests.k8s.cluster import CONTEXT, SimulatedCluster
from tests.k8s.kubelet import isolation_problem
from tests.k8s.objects import CLAIMS, SECRETS
from tests.pipeline.conftest import copy_project

SPACE, WORK, BUCKET = "rere", "rere-work", "rere-artifacts"

REGISTER = """
import json, sys
from zenml.client import Client
from zenml.enums import StackComponentType as T
given, client = json.loads(sys.argv[1]), Client()
client.create_secret("store", {"key": given["key"], "secret": given["secret"], "token": "tracking"})
components = {}
for kind, flavor, settings in given["components"]:
    made = client.create_stack_component(f"k8s_{kind}", flavor, T(kind), settings)
    components[T(kind)] = made.id
print(client.create_stack("k8s", components).id)
"""


@dataclass
class Platform:
    """The cluster, and the commands of a user whose stack is registered."""

    cluster: SimulatedCluster
    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """A command of the environment in the project, output merged."""
        program = Path(sys.executable).with_name(command[0])
        return subprocess.run(
            [str(program), *command[1:]],
            cwd=self.root,
            env={**os.environ, **self.environment},
            timeout=timeout,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def wait_for(self, name: str) -> subprocess.CompletedProcess[str]:
        """The command that CI waits with; here it gives up sooner, on a run whose pods never start, say."""
        return self.run("python", "-m", "infra.wait_for_run", name, "--interval", "0.5", "--timeout", "1800")

    def ask(self, code: str, *arguments: str) -> str:
        """Run Python in the project with the stack; returns what it printed last."""
        done = self.run("python", "-c", code, *arguments)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout.strip().splitlines()[-1]

    def config(self, name: str, text: str) -> str:
        path = self.root / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def logs(self) -> str:
        """The end of every pod's output, for a failed test."""
        pods = self.cluster.pods(SPACE)
        return "\n".join(f"== {pod['metadata']['name']}\n{self.cluster.log(pod)[-2500:]}" for pod in pods)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Services, cluster, project and stack; skips with the reason where the machine can't."""
    if problem := isolation_problem() or services.missing("kubernetes"):
        pytest.skip(problem)
    directory = tmp_path_factory.mktemp("platform")
    with ExitStack() as stack:
        cluster = SimulatedCluster(directory)
        stack.callback(cluster.stop)
        store, tracking, zenml = stack.enter_context(services.remote(directory, BUCKET))
        platform = Platform(cluster, _project(directory), _client(cluster, zenml, tracking, directory))
        cluster.namespace(SPACE)
        cluster.objects.create(CLAIMS, SPACE, {"metadata": {"name": WORK}, "spec": {}})
        cluster.objects.create(SECRETS, SPACE, {"metadata": {"name": "drill"}, "stringData": {"word": "hidden"}})
        platform.environment["ZENML_ACTIVE_STACK_ID"] = _register(platform, store, tracking)
        yield platform
    assert cluster.trouble == []


def _project(directory: Path) -> Path:
    """A copy of the code, as a user's checkout: pods get it through the artifact store."""
    root = directory / "project"
    copy_project(root)
    shutil.copy2(Path(__file__).with_name("tiny.py"), root / "tiny.py")
    return root


def _client(cluster: SimulatedCluster, zenml: str, tracking: str, directory: Path) -> dict[str, str]:
    """The environment of a user's shell."""
    return {
        "KUBECONFIG": str(cluster.kubeconfig),
        "MLFLOW_TRACKING_URI": tracking,
        "NO_COLOR": "1",
        "PYTHONPATH": str(directory / "project"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_CONFIG_PATH": str(directory / "zenml-client"),
        "ZENML_LOGGING_COLORS_DISABLED": "true",
        "ZENML_STORE_URL": zenml,
        "ZENML_STORE_USERNAME": "default",
        "ZENML_STORE_PASSWORD": services.PASSWORD,
    }


def _register(platform: Platform, store: str, tracking: str) -> str:
    """The stack, by ZenML's real flavours; credentials by reference to a secret of the ZenML server."""
    key, secret = "{{store.key}}", "{{store.secret}}"
    s3 = {"path": f"s3://{BUCKET}", "key": key, "secret": secret, "client_kwargs": {"endpoint_url": store}}
    orchestrator = {"kubernetes_context": CONTEXT, "kubernetes_namespace": SPACE, "pass_zenml_token_as_secret": True}
    components = [
        ("orchestrator", "kubernetes", orchestrator),
        ("step_operator", "kubernetes", {"incluster": True, "kubernetes_namespace": SPACE}),
        ("artifact_store", "s3", s3),
        ("container_registry", "default", {"uri": "registry.example.com/rere"}),
        ("image_builder", "local", {}),
        ("experiment_tracker", "mlflow", {"tracking_uri": tracking, "tracking_token": "{{store.token}}"}),
        ("model_registry", "mlflow", {}),
    ]
    given = {"key": services.KEY, "secret": services.SECRET, "components": components}
    return platform.ask(REGISTER, json.dumps(given))
