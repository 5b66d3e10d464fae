"""From the registry to answers: `rere serve` follows the alias, and the batch pipeline writes a table."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pandas as pd
import pytest
from click.testing import CliRunner

from infra.patience import until
from rere.errors import RereError
from tests.pipeline.conftest import Project

REGISTER = """
import mlflow
client = mlflow.MlflowClient()
made = [mlflow.register_model(client.get_model_version("rere-smoke", "1").source, "served").version for _ in range(2)]
client.set_registered_model_alias("served", "champion", made[0])
print(made[0], made[1])
"""


@pytest.fixture(scope="module")
def served(smoke_run: subprocess.CompletedProcess[str], project: Project) -> str:
    """Two versions of the smoke model under a name of their own; the first is champion."""
    assert project.ask(REGISTER) == "1 2"
    return "served"


@pytest.fixture
def service(served: str, project: Project) -> Iterator[str]:
    """The address of `rere serve`."""
    settings = project.config("serving", "poll_seconds: 0.2\nmax_k: 30\n")
    command = project.command("python", "-u", "-m", "commands.main", *f"serve --model {served} --port 0".split())
    process = subprocess.Popen(
        [*command.pop("args"), "--settings", settings],
        **command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, output = "", process.stdout
    assert output is not None
    try:
        for line in output:
            said += line
            if found := re.search(r"running on (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail(said)
    finally:
        process.terminate()
        rest = output.read()
        process.wait()
        assert "Application shutdown complete" in rest


@pytest.mark.pipeline
def test_rere_serve_follows_the_alias(service: str, project: Project) -> None:
    def version() -> str:
        answer = httpx.post(f"{service}/recommend", json={"history": ["Toy Story (1995)"], "k": 20}, trust_env=False)
        assert answer.status_code == 200
        assert len({item["item_id"] for item in answer.json()["items"]}) == 20
        return answer.json()["model_version"]

    def serves(expected: str) -> bool:
        return version() == expected

    assert serves("1")
    for other in ("2", "1"):  # a promotion, then a rollback
        code = "import mlflow; mlflow.MlflowClient().set_registered_model_alias('served', 'champion', '{}'); print(1)"
        project.ask(code.format(other))
        until(partial(serves, other))


@pytest.mark.pipeline
def test_the_batch_pipeline_writes_a_table(served: str, project: Project) -> None:
    users = pd.DataFrame(
        {
            "user_id": ["u1", "u2", "u3", None],
            "history": [["1", "2"], ["Toy Story (1995)", "gone"], ["unknown"], ["1"]],
        }
    )
    users.to_parquet(project.root / "users.parquet")
    config = project.config(
        "batch",
        "parameters:\n  batch:\n    users: {type: histories, path: users.parquet}\n"
        "    model_name: served\n    k: 3\n    output: out/table.parquet\n",
    )
    done = project.run("zenml", "pipeline", "run", "batch_pipeline", "-c", config)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 of 4 users get recommendations, 1 of them by popularity" in done.stdout
    assert "1 users get none: no user id, such as '' in row 3" in done.stdout
    table = pd.read_parquet(project.root / "out" / "table.parquet")
    assert table["user_id"].tolist() == ["u1"] * 3 + ["u2"] * 3 + ["u3"] * 3
    assert table["based_on"].tolist() == ["history"] * 6 + ["popularity"] * 3
    assert not set(table.loc[table["user_id"] == "u1", "item_id"]) & {"1", "2"}
    assert [list(unknown) for unknown in table["unknown"]] == [[]] * 3 + [["gone"]] * 3 + [["unknown"]] * 3
    unanswered = pd.read_parquet(project.root / "out" / "table.unanswered.parquet")
    assert unanswered["reason"].tolist() == ["no user id"]
    code = "from zenml.client import Client; print(len(Client().get_artifact_version('recommendations').load()))"
    assert project.ask(code) == "9"


def test_serving_without_a_model_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from commands.serve import command

    before = mlflow.get_tracking_uri()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # the service sets them; they are put back
    try:
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(command, ["--model", "nothing"])
        (tmp_path / "bad.yaml").write_text("max_kk: 3\n")
        wrong = CliRunner().invoke(command, ["--settings", "bad.yaml"])
    finally:
        mlflow.set_tracking_uri(before)
    assert isinstance(done.exception, RereError)  # which `rere` prints
    assert "run `make demo`" in str(done.exception)
    assert isinstance(wrong.exception, RereError)
    assert "max_kk" in str(wrong.exception)
