"""A Ray cluster on this machine: each node is a raylet of its own, started by `ray start` in a session of its own, so
that a node is killed as a machine is: with all that runs on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from infra.patience import until
from rere.runtime.launch import DIE_WITH_PARENT
from rere.runtime.launchers.ray import unreachable

SCRIPT = str(Path(__file__).with_name("start.py"))
START = (sys.executable, SCRIPT, "start")
# Without what no test looks at, for each is a process to start: what copies logs and, of a head, the autoscaler.
NODE = ("--object-store-memory=80000000", "--disable-usage-stats", "--block", "--num-cpus=1", "--include-log-monitor=0")
HEAD = ("--include-dashboard=false", "--no-monitor")
AGENTS = ("dashboard-agent-grpc-port", "dashboard-agent-listen-port", "metrics-export-port", "runtime-env-agent-port")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # the machine's memory is not this test's alone
    # A node that is gone is noticed at once, one that is slow isn't taken for gone.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1800000",
    "RAY_worker_register_timeout_seconds": "1800",
    "RAY_raylet_start_wait_time_s": "1800",
    "RAY_agent_register_timeout_ms": "1800000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "1800",
    "RAY_grpc_keepalive_timeout_ms": "1800000",
    "RAY_grpc_client_keepalive_timeout_ms": "1800000",
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",  # those would lack the runtime environment that ours have
    "RAY_enable_metrics_collection": "0",
    "OMP_NUM_THREADS": "1",
}


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens at the moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _own_session() -> None:
    """A session of its own, which ends with the test's process; `ray start --block` ends what it started."""
    os.setsid()
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)


class Node:
    """One `ray start` (tests/ray_cluster/start.py), and all that it starts."""

    def __init__(self, command: list[str], log: Path) -> None:
        with log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                command, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=output, preexec_fn=_own_session
            )
        self.log = log

    def said(self, words: str) -> bool:
        """Whether it said so; an error where it ended before."""
        text = self.log.read_text(encoding="utf-8")
        assert self.process.poll() is None, text
        return words in text

    def workers(self) -> list[int]:
        """Process numbers of what it runs, itself among them; Ray gives each worker a group of its own."""
        listed = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        return [
            int(process) for process, session, state in rows if int(session) == self.process.pid and state[0] != "Z"
        ]

    def kill(self) -> None:
        """As the power goes."""
        while found := self.workers():
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.process.wait()


class Cluster:
    """A head with room for one worker; `grow` adds a node with room for another."""

    def __init__(self, logs: Path, start: tuple[str, ...] = START) -> None:
        self.logs, self.nodes = logs, list[Node]()
        self.place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: paths of sockets have 107 characters at most
        self.port, self.start = free_ports(1)[0], start
        self.address = f"127.0.0.1:{self.port}"

    def grow(self) -> Node:
        return self._add([*START, f"--address={self.address}"])

    def _add(self, command: list[str]) -> Node:
        ports = [f"--{agent}={port}" for agent, port in zip(AGENTS, free_ports(len(AGENTS)), strict=True)]
        node = Node([*command, *NODE, *ports], self.logs / f"node-{len(self.nodes)}.log")
        self.nodes.append(node)
        until(lambda: node.said("Ray runtime started") and unreachable(self.address) is None)
        return node

    def __enter__(self) -> Self:
        try:
            self._add([*self.start, "--head", f"--port={self.port}", f"--temp-dir={self.place}", *HEAD])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.place, ignore_errors=True)
