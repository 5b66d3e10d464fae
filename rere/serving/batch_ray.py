"""Batch inference on a Ray cluster: users in parts, answered by actors that hold a model each (Ray Data).

Ray Data hands parts to actors as these are free, starts more of them up to `max_actors` while parts wait, and gives the
part of a lost actor or node to another. A part's answers are written by its actor; what comes back is what it counted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rere.artifacts.manifest import fingerprint
from rere.errors import RereError
from rere.runtime.progress import progress
from rere.runtime.sent_code import sent_code
from rere.serving.answer_files import Counts, finished_parts, one_row_each, read_counts, write_part
from rere.serving.batch import no_known_item, nobody_answered, recommend_users
from rere.serving.config import BatchConfig, RayBatch, UserTable
from rere.serving.engine.deployment import Deployment
from rere.serving.file_store import Files
from rere.serving.live_catalog import CatalogEdits
from rere.serving.user_files import Part, plan, read_part, require_users_once

CONNECT_SECONDS = 10.0
PASSED_ON = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RERE_PROJECT")  # to actors; credentials are the nodes' own


def recommend_on_ray(
    load: Callable[[], Deployment], config: BatchConfig, *, version: str, edits: CatalogEdits
) -> Counts:
    """Answer every user, in parts; those that an earlier run of the same batch finished stay as they are.

    Args:
        load: loads the model in an actor; its module is sent there, see `sent_code`.
        version, edits: of what `load` gives: another version, or other changes, are another batch.

    Raises:
        RereError: no cluster, or too small a one; unreadable users, or one twice; an `output` of another batch;
            nobody who gets recommendations.
    """
    engine, users, output = _ray_only(config)
    files, answers = Files(users.path), Files(output)
    with _connected(engine):
        parts = plan(files, engine.part_users)
        record = {
            "model": f"{config.model_name} {version}",
            "settings": [config.k, config.seen, config.batch_users, engine.part_users, users.separator],
            "catalogue changes": fingerprint({**dict(edits.added), **dict.fromkeys(edits.removed, "")}),
            "users": {file: files.identity(file) for file in dict.fromkeys(part.file for part in parts)},
        }
        done = finished_parts(answers, record)
        if not done:
            require_users_once(files)
        counts = [read_counts(answers, number) for number in sorted(done)]
        waiting = [part for part in parts if part.number not in done]
        if waiting:
            counts += _answered(waiting, load, config)
    total = Counts.total(counts)
    if total.users != parts[-1].row + parts[-1].high - parts[-1].low:
        raise RereError(f"a row for each user in {output}", f"{total.users:,} rows", "name another `output`")
    if not total.answered:
        raise nobody_answered(total.reasons)
    if total.by_popularity == total.answered and total.unknown_entries:
        raise no_known_item(total.unknown_entries)
    return total


def _ray_only(config: BatchConfig) -> tuple[RayBatch, UserTable, Any]:
    assert isinstance(config.engine, RayBatch)
    assert isinstance(config.users, UserTable)
    assert config.output is not None
    return config.engine, config.users, config.output


class Answerer:
    """An actor: a model, and what it does with a part."""

    def __init__(self, load: Callable[[], Deployment], config: BatchConfig) -> None:
        self.config = config
        self.deployment: Deployment | None = None
        self.problem: RereError | None = None
        try:
            self.deployment = load()
        except RereError as error:  # Ray would try again, for ever
            self.problem = error

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """The counts of a part, or the parts of a `RereError`, as JSON: Ray Data's columns are plain."""
        try:
            if self.problem is not None:
                raise self.problem
            counts = self.answer(Part(**row))
        except RereError as error:
            return {"counts": "", "problem": json.dumps(error.parts)}
        return {"counts": json.dumps(asdict(counts)), "problem": ""}

    def answer(self, part: Part) -> Counts:
        """Read, answer and write a part."""
        assert self.deployment is not None
        _, table, output = _ray_only(self.config)
        users = read_part(Files(table.path), part, table.separator)
        result = recommend_users(self.deployment, users, self.config)
        answers = one_row_each(users, result, self.deployment.version)
        return write_part(Files(output), part, answers, result)


def _answered(parts: list[Part], load: Callable[[], Deployment], config: BatchConfig) -> Iterator[Counts]:
    """Counts of parts as they are finished."""
    import ray
    from ray.exceptions import RayError

    engine = _ray_only(config)[0]
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([part._asdict() for part in parts], override_num_blocks=len(parts))
    most = max(engine.min_actors, min(engine.max_actors, len(parts)))
    told = rows.map(
        Answerer,
        fn_constructor_args=(load, config),
        compute=ray.data.ActorPoolStrategy(min_size=engine.min_actors, max_size=most),
        num_cpus=engine.cpus_per_actor,
        num_gpus=engine.gpus_per_actor,
    )
    try:
        for said in progress(told.iter_rows(), desc="parts", unit="part", total=len(parts)):
            if said["problem"]:
                raise RereError(*json.loads(said["problem"]))
            yield Counts(**json.loads(said["counts"]))
    except RayError as error:
        raise RereError(
            "a Ray cluster that lives until the batch ends",
            f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}",
            "start the cluster, and run the batch again: it goes on with the parts that are left",
        ) from error


@contextmanager
def _connected(engine: RayBatch) -> Iterator[None]:
    """Within, this process is a driver of the cluster."""
    if importlib.util.find_spec("ray") is None:
        raise RereError("Ray, for `engine: {type: ray}`", "none", "pip install -c constraints.txt -e '.[ray]'")
    start = "start the cluster (`ray start --head --port=6379`), or correct `engine.address`"
    host, _, port = engine.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise RereError(f"a Ray cluster's head at {engine.address}", str(error), start) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    import ray

    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        environment = {"env_vars": passed, "py_modules": sent_code()}
        ray.init(address=engine.address, runtime_env=environment, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:400]
        raise RereError(
            f"a Ray cluster of this machine's versions at {engine.address}, with a node on this machine", said, start
        ) from error
    try:
        _require_room(engine)
        yield
    finally:
        ray.shutdown()


def _require_room(engine: RayBatch) -> None:
    """RereError where not even `min_actors` have room, and the cluster doesn't grow."""
    import ray

    each = {"CPU": engine.cpus_per_actor, "GPU": engine.gpus_per_actor}
    least = f"{engine.min_actors} actors with {each['CPU']:g} CPU and {each['GPU']} GPU each"
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(min(int(has.get(name, 0) / needed) for name, needed in each.items() if needed) for has in nodes)
    if room < engine.min_actors and engine.autoscaling == "off":
        raise RereError(
            f"room for {least}",
            f"room for {room} on {len(nodes)} nodes",
            "add nodes, lower `min_actors` or what each reserves, or set `autoscaling: on` where the cluster grows by "
            "itself",
        )
