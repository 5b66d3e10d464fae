"""Who is told what when a run fails or ends: by a web hook and by e-mail, both to servers of this machine."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest
from zenml.alerter.base_alerter import BaseAlerterConfig, BaseAlerterFlavor
from zenml.enums import StackComponentType

from ops.alerts.hooks import failure_message, outcome_message
from ops.alerts.mail import MailConfig, MailFlavor
from ops.alerts.webhook import ATTEMPTS, WebhookConfig, WebhookFlavor
from ops.registry.stages import Promoted
from rere.errors import RereError
from rere.evaluation.verdict import Check, Verdict
from tests.pipeline.conftest import Project


@contextmanager
def listening(server: socketserver.TCPServer) -> Iterator[int]:
    """The server's port, while it answers in a thread."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def web_hook(*answers: int) -> Iterator[tuple[str, list[Any]]]:
    """A URL that takes JSON, and what it took; it answers with these statuses in turn, the last one from then on."""
    taken: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers[min(len(taken), len(answers)) - 1])
            self.send_header("Location", "/login")  # means something with 3xx only
            self.end_headers()

        def do_GET(self) -> None:  # where it is sent on to
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with listening(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/hook", taken


class MailServer(socketserver.ThreadingTCPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mailbox)
        self.mails: list[bytes] = []


class Mailbox(socketserver.StreamRequestHandler):
    """Enough of SMTP to take a mail; refuses the recipient nobody@example.com."""

    def handle(self) -> None:
        def say(line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        say("220 ready")
        while line := self.rfile.readline().decode().strip():
            if line.upper().startswith("DATA"):
                say("354 go on")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part)
                assert isinstance(self.server, MailServer)
                self.server.mails.append(b"".join(lines))
                say("250 taken")
            elif line.upper().startswith("QUIT"):
                say("221 bye")
                return
            else:
                say("550 no such user" if "nobody@" in line else "250 fine")


def alerter(flavor: BaseAlerterFlavor, config: BaseAlerterConfig) -> Any:
    """The component as ZenML makes it."""
    now = datetime.now(UTC)
    return flavor.implementation_class(
        name="team",
        id=uuid4(),
        config=config,
        flavor=flavor.name,
        type=StackComponentType.ALERTER,
        user=None,
        created=now,
        updated=now,
    )


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_web_hook_gets_the_message_as_slack_wants_it() -> None:
    with web_hook(200) as (url, taken):
        assert alerter(WebhookFlavor(), WebhookConfig(url=url)).post("It failed.\nWhy: …")
    assert taken == [{"text": "It failed.\nWhy: …"}]


def test_a_busy_web_hook_is_asked_again_and_one_that_refuses_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with web_hook(503, 200) as (url, taken):
        assert alerter(WebhookFlavor(), WebhookConfig(url=url)).post("again")
        assert len(taken) == 2
    with web_hook(404) as (url, taken):
        assert not alerter(WebhookFlavor(), WebhookConfig(url=url)).post("no")
        assert len(taken) == 1
    with web_hook(500) as (url, taken):
        assert not alerter(WebhookFlavor(), WebhookConfig(url=url)).post("never")
        assert len(taken) == ATTEMPTS
    assert "didn't take a message: status 404" in caplog.text
    assert "/hook" not in caplog.text  # who knows the URL can post


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_a_message_that_is_sent_on_elsewhere_has_not_arrived(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with web_hook(status) as (url, taken):
        assert not alerter(WebhookFlavor(), WebhookConfig(url=url)).post("to a page that says 200 to all")
    assert len(taken) == 1
    assert f"didn't take a message: status {status}" in caplog.text


@pytest.mark.parametrize("url", ["hooks.example.com/services/SECRET", "https://127.0.0.1:1/SECRET\n", "SECRET", ""])
def test_what_is_no_url_is_told_without_it(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not alerter(WebhookFlavor(), WebhookConfig(url=url)).post("nowhere to go")
    assert "didn't take a message" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_mail_has_a_subject_and_reaches_all_or_says_whom_not(caplog: pytest.LogCaptureFixture) -> None:
    server = MailServer()
    with listening(server) as port:

        def to(recipients: str) -> Any:
            config = MailConfig(
                host="127.0.0.1", port=port, sender="rere@example.com", recipients=recipients, encryption="none"
            )
            return alerter(MailFlavor(), config)

        assert to("ada@example.com, bob@example.com").post("rere_pipeline failed at `sft`.\nExpected one; got none.")
        assert not to("ada@example.com, nobody@example.com").post("ended")
    first, second = (email.message_from_bytes(mail, policy=email.policy.default) for mail in server.mails)
    assert (first["Subject"], first["To"]) == ("rere_pipeline failed at `sft`.", "ada@example.com, bob@example.com")
    assert "Expected one; got none." in first.get_content()
    assert second["Subject"] == "ended"
    assert "refused the recipient nobody@example.com" in caplog.text


def test_a_mail_server_that_is_away_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with listening(socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)) as port:
        pass  # nobody listens there any more
    config = MailConfig(host="127.0.0.1", port=port, sender="a@b.c", recipients="d@e.f", encryption="none")
    assert not alerter(MailFlavor(), config).post("away")
    assert "wasn't sent" in caplog.text


def test_a_failure_says_where_why_and_how_to_go_on() -> None:
    said = failure_message("rere_pipeline", "run-1", "sft", RereError("a GPU", "none", "ask for one"))
    assert said.startswith("rere_pipeline failed at `sft` (run run-1).\nExpected a GPU; got none.")
    assert "The same command goes on from there" in said
    assert "ValueError: x" in failure_message("p", "r", "s", ValueError("x"))
    assert "was stopped at `s`" in failure_message("p", "r", "s", KeyboardInterrupt())
    assert len(failure_message("p", "r", "s", ValueError("x" * 10_000))) < 2_000


def test_the_outcome_says_what_was_decided_and_who_decides_next() -> None:
    failed = Check(name="latency", value=2.0, threshold=1.0, passed=False, explanation="Too slow.")
    known = Promoted(
        model="shop",
        content="c0",
        champion=None,
        is_champion=False,
        verdict=Verdict.of([]),
        metric="ndcg@10",
        value=0.05,
        newest=7,
        data={},
        windows="w0",
        settings={},
        page="",
        version="7",
        aliases=("challenger",),
        tracking_uri="",
        waits="it waits for a reviewer",
        notes=("Warning: EASE ranks better.", "A note."),
    )
    said = outcome_message("rere_pipeline", "run-1", known)
    assert said.splitlines() == [
        "rere_pipeline ended (run run-1): shop version 7, ndcg@10 0.0500.",
        "Gate: passed.",
        "Not champion: it waits for a reviewer.",
        "Warning: EASE ranks better.",
        "Review: rere review 7 --model shop --open",
    ]
    promoted = known.model_copy(update={"aliases": ("challenger", "champion"), "waits": ""})
    assert "It is the champion now." in outcome_message("p", "r", promoted)
    refused = known.model_copy(update={"verdict": Verdict.of([failed]), "waits": ""})
    assert "Gate: did not pass (latency)." in outcome_message("p", "r", refused)


REGISTER = """
import sys
from zenml.client import Client
from zenml.enums import StackComponentType as Kind
client = Client()
flavor = client.create_flavor("ops.alerts.webhook.WebhookFlavor", Kind.ALERTER)
team = client.create_stack_component("team", "rere_webhook", Kind.ALERTER, {{"url": {url!r}}})
parts = {{kind: found[0].id for kind, found in client.active_stack_model.components.items()}}
client.create_stack("told", {{**parts, Kind.ALERTER: team.id}})
print("registered")
"""


@pytest.mark.pipeline
def test_the_stack_s_alerter_hears_of_a_failed_run_and_of_one_that_ended(smoke_run: Any, project: Project) -> None:
    there = dataclasses.replace(project, environment={**project.environment, "NO_PROXY": "127.0.0.1"})
    smoke = (project.root / "configs" / "smoke.yaml").read_text(encoding="utf-8")
    backbone = "    backbone: {type: directory, path: a/model}"
    (project.root / "a" / "model").mkdir(parents=True)
    lines = [backbone if line.strip().startswith("backbone:") else line for line in smoke.splitlines()]
    with web_hook(200) as (url, taken):
        assert there.ask(REGISTER.format(url=url)) == "registered"
        run = ("zenml", "pipeline", "run", "rere_pipeline", "-s", "told", "-c")
        failed = there.run(*run, there.config("untold", "\n".join(lines)))
        assert failed.returncode != 0
        done = there.run(*run, "configs/smoke.yaml")
        assert done.returncode == 0, done.stdout[-4000:]
    first, last = (message["text"] for message in taken)
    assert "failed at `check_backbone`" in first
    assert "Expected a model directory at a/model" in first
    assert "rere_pipeline ended" in last
    assert "rere review 1 --model rere-smoke --open" in last
