"""The nodes of a Ray cluster: what each has, and whether workers can do their part there."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from typing import Any

from rere.errors import RereError
from rere.runtime.launch import Exchange
from rere.runtime.launchers.ray import RayLauncher

ANSWER_SECONDS = 300.0  # of a node that is asked; it starts a Python process for it
PACKAGES = ("torch", "transformers", "trl", "peft")


def alive() -> list[dict[str, Any]]:
    """The cluster's nodes, as Ray tells of them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def fits(settings: RayLauncher, node: dict[str, Any]) -> int:
    """How many workers a node has resources for."""
    has = node["Resources"]
    return min(int(has.get(name, 0) / needed) for name, needed in settings.bundle().items())


def found(settings: RayLauncher, patience: float, exchange: Exchange | None = None) -> tuple[int, list[dict[str, Any]]]:
    """How many workers to start, and what the nodes for them say.

    Args:
        patience: seconds to wait for room for all workers; then there are as many as there is room for.
        exchange: whose directory each node must see; None: there is none yet.

    Raises:
        RereError: too few, other versions, or a directory that a node lacks.
    """
    from ray.autoscaler.sdk import request_resources

    deadline = time.monotonic() + patience
    if settings.autoscaling == "on":
        request_resources(bundles=[settings.bundle()] * settings.workers)
    while True:
        nodes = [node for node in alive() if fits(settings, node)]
        count = min(settings.workers, sum(fits(settings, node) for node in nodes))
        if count < settings.workers and time.monotonic() < deadline:
            time.sleep(1)
            continue
        if count < settings.least:
            if exchange is None and settings.autoscaling == "on":
                return count, []
            raise too_few(settings, count)
        answers = look_at(nodes, exchange)
        if len(answers) == len(nodes):
            return count, answers
        time.sleep(1)  # a node was lost meanwhile; Ray soon counts it no more


def too_few(settings: RayLauncher, found: int) -> RereError:
    """What is lacking."""
    each = ", ".join(f"{amount:g} {name}" for name, amount in settings.bundle().items())
    return RereError(
        f"room for {settings.least} Ray workers with {each} each",
        f"room for {found} on {len(alive())} nodes",
        "add nodes, lower `workers` or what each reserves, or set `autoscaling: on` where the cluster grows by itself",
    )


def look_at(nodes: list[dict[str, Any]], exchange: Exchange | None) -> list[dict[str, Any]]:
    """Ask nodes what they have.

    Returns:
        The answers of those that still live; `interface` is that of the node's address, None where there is none.

    Raises:
        RereError: other versions, a directory that a node lacks, or a node that doesn't answer.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    wanted = {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    paths = [] if exchange is None else [str(exchange.spec)]

    def tell(packages: tuple[str, ...], paths: list[str]) -> dict[str, Any]:
        # Sent as code: it needs nothing of this project's on the node.
        import os
        import platform
        from importlib import metadata

        import psutil
        import ray

        found = {"Python": platform.python_version()}
        for name in packages:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = "none"
        address = ray.util.get_node_ip_address()
        names = [
            name for name, all_of in psutil.net_if_addrs().items() if any(one.address == address for one in all_of)
        ]
        return {
            "versions": found,
            "lacks": [path for path in paths if not os.path.exists(path)],
            "interface": names[0] if names else None,
        }

    task = ray.remote(num_cpus=0, max_retries=0)(tell)
    asked = {
        node["NodeManagerHostname"] + "/" + node["NodeID"][:8]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(PACKAGES, paths)
        for node in nodes
    }
    answers = []
    for name, answer in asked.items():
        try:
            said = ray.get(answer, timeout=ANSWER_SECONDS)
        except GetTimeoutError:
            raise RereError(
                "an answer of each Ray node",
                f"none of {name} in {ANSWER_SECONDS:g} s",
                "repair that node, or remove it from the cluster",
            ) from None
        except RayError:  # it was lost meanwhile
            continue
        _require_fit(name, said, wanted)
        answers.append(said)
    return answers


def _require_fit(name: str, said: dict[str, Any], wanted: dict[str, str]) -> None:
    """RereError where a node has other versions, or lacks a directory."""
    if said["versions"] != wanted:
        differ = [what for what in wanted if said["versions"][what] != wanted[what]]
        raise RereError(
            "the versions of this machine on each Ray node: " + _listed(wanted, differ),
            f"{_listed(said['versions'], differ)} on {name}",
            "use one image, or install constraints.txt everywhere",
        )
    if said["lacks"]:
        raise RereError(
            f"{said['lacks'][0]} on each Ray node, under this path",
            f"none on {name}",
            "mount the directory of the runs ($RERE_WORK_DIR) at the same path everywhere (docs/scaling.md)",
        )


def _listed(versions: dict[str, str], names: list[str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in names)
