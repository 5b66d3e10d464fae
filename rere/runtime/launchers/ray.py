"""Workers on the nodes of a Ray cluster, by Ray Train.

A child of the stage's process talks to the cluster (rere/runtime/launchers/ray_driver.py): Ray ends the process that it
lives in when the cluster's head goes away.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rere.errors import RereError
from rere.runtime.launch import GO_ON, Exchange, Log, ended
from rere.runtime.launchers.base import Launcher
from rere.runtime.sent_code import sent_code

REACHED_SECONDS = 10.0
START_SECONDS = 600  # of workers that have room, at most; Ray Train's minute is too little for a busy machine
DRIVER = "rere.runtime.launchers.ray_driver"
Restarts = Annotated[int, Field(ge=0)]


class RayLauncher(Launcher):
    """Processes on the nodes of a Ray cluster, wherever there is room, a GPU each.

    Every node must see the work directory under the same path, and have the same packages. `rere` and the modules
    of the project that a stage uses, such as a custom reward, are sent.
    """

    type: Literal["ray"] = "ray"
    address: str = Field(pattern=r"^[^/:\s]+:\d+$", description="of the cluster's head, `host:port` (usually 6379)")
    workers: PositiveInt = Field(description="that share every batch")
    min_workers: PositiveInt | None = Field(
        default=None, description="go on with so few when nodes are lost and none replaces them; null: all are needed"
    )
    gpus_per_worker: Literal[0, 1] = Field(default=1, description="0: workers train on processors")
    cpus_per_worker: PositiveFloat = Field(default=1, description="processors that a worker reserves, and its threads")
    restarts: Restarts = Field(default=3, description="after a worker or a node was lost, from the last checkpoint")
    wait_seconds: int = Field(default=600, ge=0, description="for room: for nodes that are busy, lost or still to come")
    autoscaling: Literal["off", "on"] = Field(
        default="off", description="on: the cluster adds nodes when asked, so that too few at the start are no error"
    )

    @model_validator(mode="after")
    def _fewer_are_fewer(self) -> Self:
        if self.least > self.workers:
            raise ValueError(f"min_workers ({self.min_workers}) must be at most workers ({self.workers})")
        return self

    @property
    def least(self) -> int:
        """The fewest workers to train with."""
        return self.workers if self.min_workers is None else self.min_workers

    def bundle(self) -> dict[str, float]:
        """What a worker reserves, by Ray's names."""
        return {"CPU": self.cpus_per_worker, **({"GPU": self.gpus_per_worker} if self.on_gpus else {})}

    @property
    def starts_workers(self) -> bool:
        """See `LauncherSettings`."""
        return True

    @property
    def on_gpus(self) -> bool:
        """See `LauncherSettings`."""
        return self.gpus_per_worker > 0

    def check(self) -> None:
        """RereError for a bad address, other versions or paths on a node, or too few resources."""
        with tempfile.TemporaryDirectory(prefix="rere-ray-") as directory:
            self._drive(Exchange(Path(directory)), "check", None)

    def launch(self, worker: str, spec: Mapping[str, Any], work: Path, log: Log | None = None) -> None:
        """See `Launcher`."""
        exchange = Exchange(work)
        exchange.open(worker, spec)
        self._drive(exchange, "train", log)

    def _drive(self, exchange: Exchange, task: Literal["check", "train"], log: Log | None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise RereError("Ray, for `launcher: {type: ray}`", "none", "pip install -c constraints.txt -e '.[ray]'")
        environment = {
            "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anyone
            "RAY_COLOR_PREFIX": "0",
            "RAY_TRAIN_METRICS_ENABLED": "0",
            "RAY_CHDIR_TO_TRIAL_DIR": "0",
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(max(START_SECONDS, self.wait_seconds)),
            **os.environ,
        }
        command = [
            sys.executable,
            "-m",
            DRIVER,
            task,
            self.model_dump_json(),
            str(exchange.work),
            json.dumps(sent_code()),
        ]
        status = exchange.follow(command, environment, log)
        if not status:
            return
        if len(exchange.said()) != 3 and (why := unreachable(self.address)):
            raise head_lost(self.address, why)
        raise exchange.failure(f"{self.workers} Ray workers that finish", f"the driver {ended(status)}")


def unreachable(address: str) -> str | None:
    """Why nobody answers at `host:port`; None where someone does."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), REACHED_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def head_lost(address: str, why: str) -> RereError:
    """The cluster's end is the stage's."""
    return RereError(
        f"the Ray cluster's head at {address} to live until the stage ends",
        f"none: {why}",
        f"start the cluster; {GO_ON}",
    )
