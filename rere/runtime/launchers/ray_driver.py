"""What talks to a Ray cluster for a stage: `python -m rere.runtime.launchers.ray_driver TASK SETTINGS WORK CODE`.

It connects, looks at every node before anything starts, and has Ray Train start the workers. A mistake of a user ends
the stage; anything else (a worker or a node lost) starts workers anew, which go on from the stage's last checkpoint.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rere.errors import RereError
from rere.runtime.launch import Exchange, die_with_parent, leave
from rere.runtime.launchers.ray import RayLauncher, head_lost, unreachable
from rere.runtime.launchers.ray_nodes import alive, found
from rere.runtime.progress import VARIABLE as PROGRESS

JOINED_SECONDS = 120
LOOK_SECONDS, LOST_LOOKS = 5.0, 6  # at the head: so many times in a row that nobody answers
STORE_BYTES = 80_000_000  # of the object store of a node that only drives; nothing of a training goes through it


@contextmanager
def connected(settings: RayLauncher, code: list[str]) -> Iterator[None]:
    """Within, this process drives the cluster.

    Ray wants a driver to be on a node: where this machine is none of the cluster's, it joins meanwhile as one that
    offers nothing.

    Args:
        code: paths of what nodes are sent, see `sent_code`.

    Raises:
        RereError: nobody at the address, another version of Ray or Python, or a machine that can't join.
    """
    import ray

    if why := unreachable(settings.address):
        raise RereError(
            f"the head of a Ray cluster at {settings.address}",
            why,
            "start one (`ray start --head --port=6379`), or set `launcher.address`",
        )
    with _node_here(settings.address):
        try:
            ray.init(address=settings.address, runtime_env={"py_modules": code})
        except Exception as error:  # Ray has many for it
            raise RereError(
                f"a cluster of Ray {ray.__version__} and Python {platform.python_version()} at {settings.address}",
                " ".join(str(error).split()),
                "install the same versions everywhere (constraints.txt), or use one image; see that it is Ray's port",
            ) from None
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _node_here(address: str) -> Iterator[None]:
    """A node of the cluster on this machine: one that is there, or one for the time being."""
    from ray._private.services import find_node_ids

    if find_node_ids():
        yield
        return
    command = [str(Path(sys.executable).with_name("ray")), "start", f"--address={address}", "--block"]
    nothing = ["--num-cpus=0", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"]
    own = {**os.environ, "RERE_PARENT": str(os.getpid())}
    child = subprocess.Popen([*command, *nothing], env=own)
    try:
        deadline = time.monotonic() + JOINED_SECONDS
        while not find_node_ids():
            if child.poll() is not None or time.monotonic() > deadline:
                raise RereError(
                    f"this machine to join the Ray cluster at {address}",
                    "the words above" if child.poll() is not None else f"no node after {JOINED_SECONDS} s",
                    "open the network between the two (docs/scaling.md), and use the cluster's versions",
                )
            time.sleep(0.5)
        yield
    finally:
        child.terminate()
        child.wait()


def _end_with_head(address: str, exchange: Exchange) -> None:
    """Ends this process soon after the head is gone, where Ray would wait for it to come back."""
    missed = 0
    while missed < LOST_LOOKS:
        time.sleep(LOOK_SECONDS)
        why = unreachable(address)
        missed = missed + 1 if why else 0
    exchange.keep(head_lost(address, str(why)), "the driver")
    leave(1)


def train(settings: RayLauncher, exchange: Exchange) -> None:
    """Workers by Ray Train, started anew when some are lost.

    Raises:
        RereError: a worker's, in its own words; or too few nodes.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from rere.runtime.launchers.ray_worker import share

    watch = threading.Thread(target=_end_with_head, args=(settings.address, exchange), daemon=True)
    watch.start()
    storage = exchange.work / "ray"
    patience = settings.wait_seconds if settings.autoscaling == "on" else 0
    for left in reversed(range(settings.restarts + 1)):
        count, nodes = found(settings, patience, exchange)
        patience = settings.wait_seconds
        exchange.error.unlink(missing_ok=True)
        attempt = uuid.uuid4().hex
        exchange.attempt.write_text(attempt, encoding="utf-8")
        trainer = TorchTrainer(
            share,
            train_loop_config={"work": str(exchange.work), "attempt": attempt, "project": os.getcwd()},
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if settings.on_gpus else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=count,
                use_gpu=settings.on_gpus,
                resources_per_worker=settings.bundle(),
            ),
            run_config=ray.train.RunConfig(
                name=attempt, storage_path=str(storage), worker_runtime_env={"env_vars": _environment(nodes)}
            ),
        )
        try:
            trainer.fit()
            break
        except ray.train.TrainingFailedError as error:
            if len(exchange.said()) == 3 or not left:
                raise
            _tell(f"{_first_line(error)}; {len(alive())} nodes are left. Going on from the last checkpoint.")
        finally:
            exchange.attempt.write_text("over", encoding="utf-8")
    shutil.rmtree(storage, ignore_errors=True)


def _environment(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Of the workers: this process's import path, and the network interface by which nodes know each other."""
    own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONFAULTHANDLER": "1"}
    interfaces = {node["interface"] for node in nodes}
    if len(interfaces) == 1 and None not in interfaces:
        # Else gloo takes the one that the machine's name resolves to, often the loopback.
        own |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), interfaces.pop())
    return own


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = lines[-1].split(". ")[0] if lines else type(error).__name__  # the rest is advice on Ray
    return f"A worker was lost ({why})"


def _tell(line: str) -> None:
    """Say something to the user among the lines of progress."""
    with open(os.environ[PROGRESS], "a", encoding="utf-8") as shown:
        shown.write(line + "\n")


def main(task: str, settings: str, work: str, code: str) -> NoReturn:
    """Check, or check and train; the first error is kept for the parent."""
    die_with_parent()
    launcher, exchange = RayLauncher.model_validate_json(settings), Exchange(Path(work))
    try:
        with connected(launcher, json.loads(code)):
            if task == "check":
                found(launcher, 0)
            else:
                train(launcher, exchange)
    except Exception as error:
        exchange.keep(error, "the driver")
        leave(1)
    leave(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
