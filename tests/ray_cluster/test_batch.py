"""Batch inference on a Ray cluster of two nodes: the answers of one process, from and to files and S3; what is finished
stays; a node killed.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pandas as pd
import pytest

from infra.patience import until
from rere.errors import RereError
from rere.serving.answer_files import Counts
from rere.serving.batch import recommend_users
from rere.serving.batch_ray import recommend_on_ray
from rere.serving.config import BatchConfig, RayBatch, UserTable
from rere.serving.engine.deployment import Deployment
from rere.serving.file_store import Files
from rere.serving.live_catalog import CatalogEdits
from rere.serving.users import read_users
from tests.k8s import services
from tests.ray_cluster.cluster import Cluster
from tests.serving.helpers import tiny_deployment

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` isn't installed")
LOAD = partial(tiny_deployment, "7")
EDITS = CatalogEdits()
OWN_LOADER = '''"""A user's own way to a model: it tells the node and its file, and waits until it may go on."""
import time
from pathlib import Path

import ray

from tests.serving.helpers import tiny_deployment


def load(place):
    (Path(place) / f"node-{ray.get_runtime_context().get_node_id()}").write_text(__file__)
    while not (Path(place) / "go-on").exists():
        time.sleep(0.05)
    return tiny_deployment("7")
'''


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An S3 store's URL, which the cluster's processes find in their environment."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with services.s3("batches") as url, pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", services.KEY),
            ("AWS_SECRET_ACCESS_KEY", services.SECRET),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            patch.setenv(name, value)
        yield url


@pytest.fixture(scope="module")
def cluster(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("logs")) as one:
        one.grow()
        yield one


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> str:
    return cluster.address


def engine(address: str, actors: int = 1) -> RayBatch:
    return RayBatch(address=address, gpus_per_actor=0, min_actors=actors, max_actors=actors, part_users=3)


@pytest.fixture
def own_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Deployment]:
    """`load` of a module in a user's project, which no node has on its path; its marks are in `tmp_path`."""
    project = tmp_path / "project"
    (project / ".rere").mkdir(parents=True)
    file = project / "own_loader.py"
    file.write_text(OWN_LOADER)
    monkeypatch.setenv("RERE_PROJECT", str(project))
    spec = importlib.util.spec_from_file_location("own_loader", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "own_loader", module)
    spec.loader.exec_module(module)
    return partial(module.load, str(tmp_path))


def when_both_load(place: Path, then: Callable[[], object]) -> threading.Thread:
    """Does something when an actor on each of two nodes loads its model, and lets them go on."""

    def wait() -> None:
        until(lambda: len(list(place.glob("node-*"))) == 2)
        then()
        (place / "go-on").touch()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def users() -> pd.DataFrame:
    histories = [[f"i{n % 40}", "gone"] if n % 3 else [f"i{n % 40}"] for n in range(8)]
    histories[2] = ["nothing"]
    return pd.DataFrame({"user_id": [f"u{n}" for n in range(8)], "history": histories})


def answers(place: Path | str) -> pd.DataFrame:
    files = Files(place)
    return pd.concat([pd.read_parquet(files.system.open(file)) for file in files.parquet()], ignore_index=True)


def require_as_in_one_process(found: pd.DataFrame, counts: Counts, table: UserTable) -> None:
    config = BatchConfig(users=table, k=3)
    whole = recommend_users(tiny_deployment("7"), read_users(table), config)
    assert found["user_id"].tolist() == users()["user_id"].tolist()  # one row each, in their order
    expected = whole.recommendations.groupby("user_id")
    unanswered = {told["user_id"]: told for told in whole.unanswered.to_dict("records")}
    for row in found.to_dict("records"):
        if row["reason"]:
            other = unanswered[row["user_id"]]
            assert [row[name] for name in ("reason", "detail", "row")] == [
                other["reason"],
                other["detail"],
                other["row"],
            ]
        else:
            mine = expected.get_group(row["user_id"])
            assert list(row["item_ids"]) == mine["item_id"].tolist()
            assert list(row["scores"]) == pytest.approx(mine["score"].tolist(), abs=1e-3)
    assert counts == Counts(8, 8 - len(whole.unanswered), whole.by_popularity, whole.unknown_entries, whole.reasons)


def test_answers_are_those_of_one_process_and_what_is_finished_stays(address: str, tmp_path: Path) -> None:
    table = UserTable(path=tmp_path / "users.parquet")
    users().to_parquet(Path(table.path), row_group_size=4)
    output = tmp_path / "answers"
    config = BatchConfig(users=table, k=3, engine=engine(address), output=output)
    counts = recommend_on_ray(LOAD, config, version="7", edits=EDITS)
    require_as_in_one_process(answers(output), counts, table)
    (output / "part-000001.parquet").unlink()
    written = {file: file.stat().st_mtime_ns for file in output.glob("part-*")}
    assert len(written) == 2
    assert recommend_on_ray(LOAD, config, version="7", edits=EDITS) == counts
    require_as_in_one_process(answers(output), counts, table)
    assert {file: file.stat().st_mtime_ns for file in written} == written
    with pytest.raises(RereError, match="another: model changed"):
        recommend_on_ray(LOAD, config, version="8", edits=EDITS)


def test_users_and_answers_on_s3(address: str, tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    users().to_parquet(path)
    Files("s3://batches/users").write("a.parquet", path.read_bytes())
    table = UserTable(path="s3://batches/users")
    config = BatchConfig(users=table, k=3, engine=engine(address), output="s3://batches/answers")
    counts = recommend_on_ray(LOAD, config, version="7", edits=EDITS)
    require_as_in_one_process(answers("s3://batches/answers"), counts, UserTable(path=path))


def broken() -> NoReturn:
    raise RereError("a model", "none", "train one")


def test_what_an_actor_refuses_is_said(address: str, tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    users().to_parquet(path)
    config = BatchConfig(users=UserTable(path=path), engine=engine(address), output=tmp_path / "answers")
    with pytest.raises(RereError, match=r"Expected a model; got none\. Fix: train one"):
        recommend_on_ray(broken, config, version="7", edits=EDITS)
    large = config.model_copy(update={"engine": engine(address).model_copy(update={"cpus_per_actor": 64})})
    with pytest.raises(RereError, match=r"room for 1 actors with 64 CPU and 0 GPU each; got room for 0"):
        recommend_on_ray(LOAD, large, version="7", edits=EDITS)


def test_each_node_has_an_actor_with_the_users_own_code(
    address: str, tmp_path: Path, own_load: Callable[[], Deployment]
) -> None:
    table, output = UserTable(path=tmp_path / "users.parquet"), tmp_path / "answers"
    users().to_parquet(Path(table.path))
    config = BatchConfig(users=table, k=3, engine=engine(address, actors=2), output=output)
    waiting = when_both_load(tmp_path, lambda: None)
    counts = recommend_on_ray(own_load, config, version="7", edits=EDITS)
    waiting.join()
    require_as_in_one_process(answers(output), counts, table)
    files = [Path(mark.read_text()) for mark in tmp_path.glob("node-*")]
    assert [file.name for file in files] == ["own_loader.py"] * 2
    assert not any(tmp_path in file.parents for file in files)  # it was sent


def test_the_parts_of_a_killed_node_are_answered_by_the_other(
    cluster: Cluster, tmp_path: Path, own_load: Callable[[], Deployment]
) -> None:
    table, output = UserTable(path=tmp_path / "users.parquet"), tmp_path / "answers"
    users().to_parquet(Path(table.path))
    config = BatchConfig(users=table, k=3, engine=engine(cluster.address, actors=2), output=output)
    waiting = when_both_load(tmp_path, cluster.nodes[1].kill)
    counts = recommend_on_ray(own_load, config, version="7", edits=EDITS)
    waiting.join()
    require_as_in_one_process(answers(output), counts, table)
