"""The workflows are what GitHub takes them for: linted, valid, and without rights that they don't need.

Their shell steps run here, as they stand in the files, with stand-ins for what GitHub and the cloud answer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))


def lint(*command: str, files: list[Path] = WORKFLOWS) -> None:
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([str(program), *command[1:], *map(str, files)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def read(name: str) -> dict[Any, Any]:
    content = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_actionlint() -> None:
    assert {file.name for file in WORKFLOWS} >= {"ci.yml", "retrain.yml"}
    lint("actionlint", "-no-color")


def test_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    lint("check-jsonschema", "--builtin-schema", "vendor.github-actions", files=ACTIONS)


def test_actions_are_pinned_by_commit() -> None:
    lines = [line.strip() for file in (*WORKFLOWS, *ACTIONS) for line in file.read_text().splitlines()]
    used = [line for line in lines if "uses:" in line and "uses: ./" not in line]
    assert used
    assert [line for line in used if not re.search(r"uses: [\w/-]+@[0-9a-f]{40}  # v\d+(\.\d+)*$", line)] == []


def test_ci_runs_on_every_python_that_the_project_says_it_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = [name.rsplit(" ", 1)[1] for name in project["classifiers"] if "Python :: 3." in name]
    assert read("ci.yml")["jobs"]["check"]["strategy"]["matrix"]["python"] == said
    assert project["requires-python"] == f">={said[0]},<3.{int(said[-1].split('.')[1]) + 1}"


def test_ci_shows_the_coverage_and_the_other_tests_do_not_wait_for_it() -> None:
    jobs = read("ci.yml")["jobs"]
    *_, counted, shown = jobs["coverage"]["steps"]
    assert counted["run"] == "make coverage"
    assert shown["run"].startswith(".venv/bin/coverage report")
    assert "GITHUB_STEP_SUMMARY" in shown["run"]
    assert "needs" not in jobs["coverage"]
    assert "needs" not in jobs["check"]


ALLOWED = {"contents": "read", "actions": "read", "id-token": "write"}  # the last: to say who it is, to the cloud


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
def test_only_what_attaches_a_release_may_write_to_the_repository(file: Path) -> None:
    workflow = read(file.name)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        if (file.name, name) == ("release.yml", "attach"):
            assert job["permissions"] == {"actions": "read", "contents": "write"}
            assert all(step["run"].startswith("gh r") for step in job["steps"])  # nothing of the repository runs there
        else:
            assert job["permissions"].items() <= ALLOWED.items(), name
        assert job["timeout-minutes"] <= 360
        assert job["runs-on"] != "ubuntu-latest"
        checkouts = [step for step in job["steps"] if "actions/checkout@" in step.get("uses", "")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts), name


def test_a_pull_request_gets_a_dry_run_without_secrets_and_nothing_else() -> None:
    jobs = read("retrain.yml")["jobs"]
    on_requests = {name for name, job in jobs.items() if job.get("if") == "github.event_name == 'pull_request'"}
    assert on_requests == {"dry-run"}
    assert "secrets." not in json.dumps(jobs["dry-run"])
    for name, job in jobs.items():
        if name != "dry-run":  # begins where train did
            assert "pull_request" in job.get("if", "") or "train" in job["needs"], name


def test_retraining_is_scheduled_alone_and_promotes_only_past_a_reviewer() -> None:
    workflow = read("retrain.yml")
    triggers = workflow[True]  # YAML 1.1 reads `on` as true
    assert triggers["schedule"]
    assert "workflow_dispatch" in triggers
    jobs = workflow["jobs"]
    assert "concurrency" not in workflow  # a run that awaits its reviewer would hold up the next night's
    assert {name: job["concurrency"] for name, job in jobs.items() if "concurrency" in job} == {
        "train": {"group": "retrain", "cancel-in-progress": False}
    }
    promote = jobs["promote"]
    assert promote["environment"] == "production"
    assert promote["if"] == "needs.train.outputs.type == 'waiting'"
    scripts = {name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    assert [name for name, script in scripts.items() if "decide approved" in script] == ["promote"]
    assert not any("rere approve" in script or "rere promote" in script for script in scripts.values())
    assert jobs["announce"]["needs"] == "train"  # before the decision
    assert jobs["reject"]["needs"] == jobs["close"]["needs"] == ["train", "promote"]


def test_the_scheduled_configuration_leaves_the_word_to_the_reviewer() -> None:
    workflow, config = read("retrain.yml"), ROOT / "configs" / "retrain.yaml"
    assert "configs/retrain.yaml" in workflow["env"]["CONFIG"]
    promotion = yaml.safe_load(config.read_text(encoding="utf-8"))["parameters"]["promotion"]
    assert promotion["decided_by"] == "review"


# ---------------------------------------------------------------- their shell steps

CALLED = 'printf "%s\\n" "$(basename "$0")" "$@" >> "$CALLS"\n'  # each word of a call on a line


class Cloud:
    """GitHub's API, its OIDC issuer, the cloud's STS and a web hook, all in one; what was asked, with its token."""

    def __init__(self) -> None:
        self.approvals: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str | None]] = []
        self.announced: list[str] = []

    def answer(self, path: str) -> Any:
        if path.endswith("/actions/runs/7/approvals"):
            return self.approvals
        if path.startswith("/oidc"):
            return {"value": "signed"}
        keys = {"AccessKeyId": "id", "SecretAccessKey": "key", "SessionToken": "session"}
        return {"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": keys}}}


@pytest.fixture
def cloud() -> Iterator[tuple[Cloud, str]]:
    held = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.asked.append((self.path, self.headers["Authorization"]))
            self.reply(held.answer(self.path))

        def do_POST(self) -> None:
            held.announced.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.reply({})

        def reply(self, content: Any) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield held, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A checkout with stand-ins for what `make venv` installs; what is called is in `calls`."""
    (tmp_path / "infra").mkdir()
    for name in ("ci.py", "ci_stack.sh"):
        shutil.copy2(ROOT / "infra" / name, tmp_path / "infra" / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'export PATH="{programs}:$PATH"\n', encoding="utf-8")
    for program in ("rere", "zenml", "python", "make", "sudo"):
        stub = programs / program
        stub.write_text(f"#!/bin/bash\n{CALLED}", encoding="utf-8")
        stub.chmod(0o755)
    for name in ("env", "output", "summary", "calls"):
        (tmp_path / name).touch()
    return tmp_path


def step(workflow: str, job: str, name: str) -> dict[str, Any]:
    [found] = [one for one in read(workflow)["jobs"][job]["steps"] if one.get("name") == name]
    return dict(found)


def shell(job: Path, script: str, **variables: str) -> tuple[int, str]:
    """Run a script as GitHub's runner does; returns its exit status and what it printed."""
    own = {
        "PATH": f"{job / '.venv' / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CALLS": str(job / "calls"),
        "GITHUB_ENV": str(job / "env"),
        "GITHUB_OUTPUT": str(job / "output"),
        "GITHUB_STEP_SUMMARY": str(job / "summary"),
        "GITHUB_RUN_ID": "7",
        "GITHUB_REPOSITORY": "us/shop",
        "GITHUB_SERVER_URL": "https://github.example",
        "RUNNER_TEMP": str(job),
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=job, env=own | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()


def text(job: Path, name: str) -> str:
    return (job / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("platform", "on"), [("", []), ("configs/k8s.yaml", ["--on", "configs/k8s.yaml"])])
def test_the_night_is_run_where_the_repository_says(job: Path, platform: str, on: list[str]) -> None:
    given = {"CONFIG": "c.yaml", "PLATFORM": platform, "WHEN": "changed"}
    assert shell(job, step("retrain.yml", "train", "Retrain")["run"], **given) == (0, "")
    called = ["rere", "retrain", "-c", "c.yaml", *on, "--when", "changed", "--to", "reports/retrain.json"]
    assert text(job, "calls").splitlines() == called
    (job / "calls").write_text("", encoding="utf-8")
    assert shell(job, step("retrain.yml", "dry-run", "Would it run?")["run"], **given) == (0, "")
    assert text(job, "calls").splitlines()[-len(on) - 1 :] == [*on, "--dry-run"]


def test_how_it_ended_is_handed_on(job: Path) -> None:
    (job / "reports").mkdir()
    ended = {
        "type": "waiting",
        "model": "shop",
        "version": "3",
        "champion": None,
        "reasons": ["it waits"],
        "why": "new",
    }
    (job / "reports" / "retrain.json").write_text(json.dumps(ended), encoding="utf-8")
    assert shell(job, step("retrain.yml", "train", "Hand on how it ended")["run"])[0] == 0
    assert text(job, "output").splitlines() == ["type=waiting", "model=shop", "version=3", "champion="]
    assert "### shop: waiting\n\n- it waits" in text(job, "summary")


@pytest.mark.parametrize(
    ("where", "facts", "said"),
    [
        ("announce", {"TRAINED": "failure"}, "Retraining failed."),
        ("announce", {"TYPE": "skipped"}, "shop: skipped."),
        ("announce", {"TYPE": "refused", "VERSION": "3"}, "shop: version 3: refused."),
        ("announce", {"TYPE": "waiting", "VERSION": "3"}, "shop: version 3 passed the gate and waits for a reviewer"),
        ("close", {"TYPE": "waiting", "VERSION": "3", "DECIDED": "success"}, "shop: version 3 is the champion now."),
        ("close", {"TYPE": "waiting", "VERSION": "3", "DECIDED": "failure"}, "shop: version 3 was not promoted."),
    ],
)
def test_it_is_announced(where: str, facts: dict[str, str], said: str, job: Path, cloud: tuple[Cloud, str]) -> None:
    held, address = cloud
    script = step("retrain.yml", where, "Announce")
    assert set(facts) <= set(script["env"])
    code, output = shell(job, script["run"], **{"TRAINED": "success", "MODEL": "shop", "HOOK": address, **facts})
    assert code == 0, output
    [announced] = held.announced
    assert announced.startswith(said)
    assert announced.endswith("https://github.example/us/shop/actions/runs/7")
    assert text(job, "summary") == f"{announced}\n"
    assert shell(job, script["run"], **{"TRAINED": "success", "MODEL": "shop", **facts})[0] == 0  # without a hook


def word(state: str, comment: str = "") -> dict[str, Any]:
    return {"state": state, "comment": comment, "user": {"login": "ada"}}


@pytest.mark.parametrize(
    ("where", "words", "called"),
    [
        ("promote", [word("approved", "reads well")], ["approve", "3", "ada", "reads well"]),
        ("promote", [word("rejected"), word("approved")], ["approve", "3", "ada", "approved in CI run 7"]),
        ("reject", [word("rejected", 'sequels; "only"')], ["reject", "3", "ada", 'sequels; "only"']),
        ("reject", [word("approved", "but the command failed")], None),
    ],
)
def test_the_reviewers_word_gets_into_the_log(
    where: str, words: list[dict[str, Any]], called: list[str] | None, job: Path, cloud: tuple[Cloud, str]
) -> None:
    held, address = cloud
    held.approvals = words
    script = step("retrain.yml", where, "Write the reviewer's word to the log")["run"]
    given = {"GITHUB_API_URL": address, "GH_TOKEN": "t", "MODEL": "shop", "VERSION": "3"}
    code, output = shell(job, script, **given)
    assert code == 0, output
    assert held.asked == [("/repos/us/shop/actions/runs/7/approvals", "Bearer t")]
    if called is None:
        assert text(job, "calls") == ""
    else:
        command, version, who, why = called
        expected = ["rere", command, version, "--model", "shop", "--by", who, "--reason", why]
        assert text(job, "calls").splitlines() == expected


def test_without_a_reviewer_nothing_is_promoted(job: Path, cloud: tuple[Cloud, str]) -> None:
    script = step("retrain.yml", "promote", "Write the reviewer's word to the log")["run"]
    code, output = shell(job, script, GITHUB_API_URL=cloud[1], GH_TOKEN="t", MODEL="shop", VERSION="3")
    assert (code, text(job, "calls")) == (1, "")
    assert "protect the environment production" in output


def action(name: str) -> str:
    content = yaml.safe_load(ACTIONS[0].read_text(encoding="utf-8"))
    [found] = [one for one in content["runs"]["steps"] if one.get("name") == name]
    return str(found["run"])


@pytest.mark.parametrize(("valid", "asked"), [("", "3600"), ("21600", "21600")])
def test_the_stores_credentials_are_those_of_a_role(
    job: Path, cloud: tuple[Cloud, str], valid: str, asked: str
) -> None:
    held, address = cloud
    issuer = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/oidc?v=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job"}
    code, output = shell(job, action("Take the role"), ROLE="arn:role", STS_URL=address, SECONDS_VALID=valid, **issuer)
    assert code == 0, output
    assert f"DurationSeconds={asked}&" in held.asked[1][0]
    assert held.asked[0] == ("/oidc?v=1&audience=sts.amazonaws.com", "Bearer job")
    assert "WebIdentityToken=signed" in held.asked[1][0]
    assert "RoleArn=arn%3Arole" in held.asked[1][0]
    names = ("AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key", "AWS_SESSION_TOKEN=session")
    assert text(job, "env").splitlines() == list(names)
    assert all(f"::add-mask::{secret}" in output for secret in ("signed", "key", "session"))


def test_credentials_last_as_long_as_the_repository_says() -> None:
    """A night may take longer than the hour that they last by themselves."""
    jobs, variable = read("retrain.yml")["jobs"], "${{ vars.STORE_ROLE_SECONDS }}"
    stacks = [one["with"] for job in jobs.values() for one in job["steps"] if "actions/stack" in one.get("uses", "")]
    assert [given["role-seconds"] for given in stacks] == [variable] * 3
    content = yaml.safe_load(ACTIONS[0].read_text(encoding="utf-8"))
    [taken] = [one for one in content["runs"]["steps"] if one.get("name") == "Take the role"]
    assert taken["env"]["SECONDS_VALID"] == "${{ inputs.role-seconds }}"


def test_a_remote_stack_gets_its_clients_and_its_access(job: Path) -> None:
    given = {
        "SERVER_URL": "https://zenml",
        "SERVER_KEY": "k",
        "TRACKING_URI": "https://mlflow",
        "STACK": "rere_kubernetes",
    }
    code, output = shell(job, action("Install, and connect to the stack"), KUBE_CONFIG="apiVersion: v1", **given)
    assert code == 0, output
    called = text(job, "calls")
    assert "-e\n.[k8s]" in called
    assert "stack\nset\nrere_kubernetes" in called
    kept = dict(line.split("=", 1) for line in text(job, "env").splitlines())
    assert kept["ZENML_STORE_URL"] == "https://zenml"
    config = Path(kept["KUBECONFIG"])
    assert config.read_text(encoding="utf-8") == "apiVersion: v1\n"
    assert config.stat().st_mode & 0o077 == 0
    (job / "env").write_text("", encoding="utf-8")
    assert shell(job, action("Install, and connect to the stack"), **given)[0] == 0
    assert "KUBECONFIG" not in text(job, "env")
    code, output = shell(job, action("Install, and connect to the stack"), **given | {"STACK": ""})
    assert code != 0
    assert "the variable ZENML_STACK is not set" in output


def test_a_local_stack_is_made_where_there_is_no_server(job: Path) -> None:
    assert shell(job, action("Install, and connect to the stack"))[0] == 0
    assert text(job, "calls").splitlines() == ["make", "venv", "make", "stack"]


def test_the_tests_of_ci_find_the_cache_and_pythons_path_as_root(job: Path) -> None:
    [script] = [one["run"] for one in read("ci.yml")["jobs"]["check"]["steps"] if ".ci/run" in one.get("run", "")]
    cache = job / "cache"
    assert shell(job, script, PIP_CACHE_DIR=str(cache))[0] == 0
    assert cache.is_dir()
    called = text(job, "calls").splitlines()
    assert called[:5] == ["sudo", "chown", "-R", "root", str(cache)]
    assert called[5:7] == ["sudo", "env"]
    assert f"PIP_CACHE_DIR={cache}" in called
    assert called[-1] == ".ci/run"
