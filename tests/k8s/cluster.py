"""The simulated Kubernetes cluster, assembled: API server, controllers, kubelet, a kubeconfig for clients."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path

import yaml

from tests.k8s.access import Access
from tests.k8s.api_server import Api, serve
from tests.k8s.controllers import CronJobController, JobController
from tests.k8s.kubelet import Kubelet
from tests.k8s.objects import NAMESPACES, PODS, SERVICE_ACCOUNTS, ApiError, Clock, Kind, Object, Objects

CONTEXT = "simulated"
ROUND = 0.1  # seconds between the controllers' looks at the objects


class SimulatedCluster:
    """Runs in this process, its pods as processes of this machine; everything ends with `stop`."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.objects = Objects(self.clock)
        self.access = Access(self.objects)
        certificate, key = _certificate(directory)
        self.kubelet = Kubelet(self.objects, self.clock, self.access, directory, certificate)
        api = Api(self.objects, self.access, self.kubelet.log_path)
        api.on_delete = self.kubelet.end
        self.server = serve(api, certificate, key)
        host, port = self.kubelet.server = ("127.0.0.1", self.server.server_address[1])
        self.kubeconfig = directory / "kubeconfig"
        self.kubeconfig.write_text(_kubeconfig(f"https://{host}:{port}", certificate, self.access.administrator))
        self.controllers = (CronJobController(self.objects, self.clock), JobController(self.objects, self.clock))
        self.stopping = threading.Event()
        self.trouble: list[str] = []
        self.loop = threading.Thread(target=self._run, daemon=True)
        self.loop.start()

    def namespace(self, name: str) -> None:
        """A namespace with its default service account."""
        self.objects.create(NAMESPACES, "", {"metadata": {"name": name}})
        self.objects.create(SERVICE_ACCOUNTS, name, {"metadata": {"name": "default"}})

    def advance(self, step: timedelta) -> None:
        """Move the cluster's clock forward: schedules that fall due fire."""
        self.clock.advance(step)

    def pods(self, namespace: str, **labels: str) -> list[Object]:
        return self.objects.list(PODS, namespace, ",".join(f"{key}={value}" for key, value in labels.items()))

    def log(self, pod: Object) -> str:
        path = self.kubelet.log_path(pod["metadata"]["namespace"], pod["metadata"]["uid"])
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def wait(self, kind: Kind, namespace: str, name: str, *conditions: str, timeout: float = 600) -> Object:
        """Until the object has one of the conditions; returns it."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            found = self.objects.get(kind, namespace, name)
            held = (found.get("status") or {}).get("conditions") or []
            if any(condition["type"] in conditions and condition["status"] == "True" for condition in held):
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{kind.name} {name} has none of {conditions} after {timeout} s")

    def stop(self) -> None:
        self.stopping.set()
        self.loop.join(timeout=10)
        self.kubelet.stop()
        self.server.shutdown()
        self.server.server_close()

    def _run(self) -> None:
        while not self.stopping.wait(ROUND):
            for part in (*self.controllers, self.kubelet):
                try:
                    with contextlib.suppress(ApiError):  # an object that went while it was looked at
                        part.reconcile()
                except Exception:
                    self.trouble.append(traceback.format_exc())


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1: in-cluster clients insist on TLS."""
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=simulated-kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def _kubeconfig(server: str, certificate: Path, token: str) -> str:
    authority = base64.b64encode(certificate.read_bytes()).decode()
    cluster = {"server": server, "certificate-authority-data": authority}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [{"name": CONTEXT, "cluster": cluster}],
            "users": [{"name": "administrator", "user": {"token": token}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": "administrator"}}],
        }
    )
