"""The simulated kubelet: a pod's command as a local process with mounts, host name and process ids of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.k8s.access import Access
from tests.k8s.objects import PODS, ApiError, Clock, Object, Objects, timestamp
from tests.k8s.pod_spec import PodSpec, Waiting

UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--ipc", "--fork", "--kill-child", "--propagation", "private")
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
KILLED = 128 + signal.SIGKILL


def isolation_problem() -> str | None:
    """Why pods can't have namespaces of their own here, or None."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return "needs Linux and unshare (util-linux)"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    return f"needs root to give pods their own namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Kubelet:
    """Starts pending pods, reports how they end, ends them when told."""

    def __init__(self, objects: Objects, clock: Clock, access: Access, directory: Path, certificate: Path) -> None:
        self.objects, self.clock, self.access = objects, clock, access
        self.directory, self.certificate = directory, certificate
        self.server = ("127.0.0.1", 0)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.disrupted: set[str] = set()

    def log_path(self, namespace: str, uid: str) -> Path:
        return self.directory / "pods" / uid / "log"

    def reconcile(self) -> None:
        for pod in self.objects.list(PODS, fields="status.phase=Pending"):
            self._start(pod)
        for pod in self.objects.list(PODS, fields="status.phase=Running"):
            if pod["spec"].get("activeDeadlineSeconds") == 0:
                self.end(pod, 1)

    def end(self, pod: Object, grace: int) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds; returns at once."""
        process = self.running.get(pod["metadata"]["uid"])
        if process:
            threading.Thread(target=_end, args=(process, grace), daemon=True).start()

    def kill(self, pod: Object) -> None:
        """SIGKILL to everything in the pod, as the kernel does when memory runs out."""
        self.running[pod["metadata"]["uid"]].kill()

    def evict(self, pod: Object) -> None:
        """The node goes (a spot instance, a drain): as `kill`, and the pod says that it was disrupted."""
        self.disrupted.add(pod["metadata"]["uid"])
        self.kill(pod)

    def stop(self) -> None:
        for process in list(self.running.values()):
            process.kill()
            process.wait()

    def _start(self, pod: Object) -> None:
        namespace, name, uid = (pod["metadata"][key] for key in ("namespace", "name", "uid"))
        directory = self.directory / "pods" / uid
        try:
            spec = PodSpec(pod, self.objects, directory, self.directory / "claims")
            resolved = spec.resolve(self.server, self.certificate, self.access.token)
        except Waiting as waiting:
            reason, message = waiting.args
            self._report(namespace, name, "Pending", {"waiting": {"reason": reason, "message": message}})
            return
        (directory / "spec.json").write_text(json.dumps(resolved), encoding="utf-8")
        initial = str(Path(__file__).with_name("pod_init.py"))
        with self.log_path(namespace, uid).open("wb") as log:
            command = [*UNSHARE, sys.executable, "-I", initial, str(directory / "spec.json")]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.running[uid] = process
        self._report(namespace, name, "Running", {"running": {"startedAt": timestamp(self.clock.now())}})
        threading.Thread(target=self._await, args=(namespace, name, uid, process), daemon=True).start()

    def _await(self, namespace: str, name: str, uid: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        code = 128 - code if code < 0 else code
        del self.running[uid]
        reason = "Completed" if code == 0 else "OOMKilled" if code == KILLED else "Error"
        ended = {"exitCode": code, "reason": reason, "finishedAt": timestamp(self.clock.now())}
        with contextlib.suppress(ApiError):  # it may have been deleted
            conditions = [DISRUPTED] if uid in self.disrupted else []
            self._report(namespace, name, "Failed" if code else "Succeeded", {"terminated": ended}, conditions)

    def _report(
        self, namespace: str, name: str, phase: str, state: Object, conditions: list[Object] | None = None
    ) -> None:
        def change(pod: Object) -> None:
            container = pod["spec"]["containers"][0]
            described = {"name": container["name"], "image": container.get("image", ""), "imageID": "simulated"}
            running = {"ready": phase == "Running", "restartCount": 0, "state": state}
            ready = {"type": "Ready", "status": str(phase == "Running")}
            status = {"phase": phase, "podIP": "127.0.0.1", "conditions": [ready, *(conditions or [])]}
            start = {"startTime": timestamp(self.clock.now()), **(pod.get("status") or {})}
            pod["status"] = start | status | {"containerStatuses": [described | running]}

        self.objects.update(PODS, namespace, name, change)


def _end(process: subprocess.Popen[bytes], grace: int) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError):
        for child in children.read_text(encoding="ascii").split():
            os.kill(int(child), signal.SIGTERM)
    until = time.monotonic() + grace
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
