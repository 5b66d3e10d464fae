"""What the scheduled retraining does on GitHub beside training: `python3 infra/ci.py identity|outcome|announce|decide`.

identity  exchanges the job's OIDC token for short-lived credentials of the S3 store ($ROLE at $STS_URL)
outcome   hands what `rere retrain --to FILE` wrote to the next jobs, and to the run's summary
announce  says what awaits a reviewer or how it ended: in the summary, and to the web hook $HOOK
decide    writes the reviewer's word, as GitHub's environment has it, to the champion's log

Standard library only: a job that only announces installs nothing. Each reads what GitHub sets ($GITHUB_...).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT = 20.0  # seconds for an answer
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AccessKeyId",
    "AWS_SECRET_ACCESS_KEY": "SecretAccessKey",
    "AWS_SESSION_TOKEN": "SessionToken",
}


def identity() -> None:
    """$ROLE's credentials, for $SECONDS_VALID (an hour): to the environment of later steps, masked in the log."""
    asked = urllib.parse.urlencode({"audience": os.environ.get("AUDIENCE") or "sts.amazonaws.com"})
    token = _get(
        f"{os.environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&{asked}", bearer=os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    )["value"]
    print(f"::add-mask::{token}")
    query = urllib.parse.urlencode(
        {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": os.environ["ROLE"],
            "RoleSessionName": f"rere-{os.environ['GITHUB_RUN_ID']}",
            "DurationSeconds": os.environ.get("SECONDS_VALID") or "3600",
            "WebIdentityToken": token,
        }
    )
    answer = _get(f"{os.environ.get('STS_URL') or 'https://sts.amazonaws.com'}/?{query}")
    found = answer["AssumeRoleWithWebIdentityResponse"]["AssumeRoleWithWebIdentityResult"]["Credentials"]
    for name, key in CREDENTIALS.items():
        print(f"::add-mask::{found[key]}")
        _append("GITHUB_ENV", f"{name}={found[key]}")


def outcome(file: str) -> None:
    """Type, model, version and champion as outputs of the step; the reasons in the summary."""
    ended = json.loads(Path(file).read_text(encoding="utf-8"))
    for name in ("type", "model", "version", "champion"):
        _append("GITHUB_OUTPUT", f"{name}={ended[name] or ''}")
    reasons = "\n".join(f"- {reason}" for reason in ended["reasons"])
    _append("GITHUB_STEP_SUMMARY", f"### {ended['model']}: {ended['type']}\n\n{reasons}\n\n{ended['why']}\n")


def announce() -> None:
    """One line from $TRAINED and $DECIDED (results of the jobs, $DECIDED empty before a decision), $TYPE, $VERSION."""
    model, version, kind = (os.environ.get(name, "") for name in ("MODEL", "VERSION", "TYPE"))
    named, decided = f"{model}: version {version}", os.environ.get("DECIDED", "")
    if os.environ["TRAINED"] != "success":
        said = "Retraining failed."
    elif decided == "success":
        said = f"{named} is the champion now."
    elif decided:
        said = f"{named} was not promoted."
    elif kind == "waiting":
        said = f"{named} passed the gate and waits for a reviewer, who finds the review among this run's artifacts."
    else:
        said = f"{named if version else model}: {kind}."
    repository = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
    text = f"{said} {repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}"
    print(text)
    _append("GITHUB_STEP_SUMMARY", text)
    if hook := os.environ.get("HOOK"):
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(hook, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=WAIT).close()


def decide(handled: str) -> None:
    """`rere approve` or `rere reject` of $VERSION, by the reviewer's login and comment; fails where nobody decided.

    Args:
        handled: approved or rejected: the word that this job is for. The other one is another job's.
    """
    repository, run = os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_RUN_ID"]
    url = f"{os.environ['GITHUB_API_URL']}/repos/{repository}/actions/runs/{run}/approvals"
    words: list[dict[str, Any]] = _get(url, bearer=os.environ["GH_TOKEN"])
    said = [word for word in words if word["state"] in ("approved", "rejected")]
    if not said:
        sys.exit("::error::Nobody decided: protect the environment production with a required reviewer.")
    last = said[-1]
    if last["state"] != handled:
        print(f"The reviewer's word is {last['state']}: nothing to do here.")
        return
    command, who = ("approve" if handled == "approved" else "reject"), last["user"]["login"]
    why = last.get("comment") or f"{handled} in CI run {run}"
    options = ["--model", os.environ["MODEL"], "--by", who, "--reason", why]
    sys.exit(subprocess.run(["rere", command, os.environ["VERSION"], *options]).returncode)


def _get(url: str, bearer: str | None = None) -> Any:
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT) as answer:
        return json.load(answer)


def _append(variable: str, line: str) -> None:
    with open(os.environ[variable], "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {
        "identity": identity,
        "outcome": outcome,
        "announce": announce,
        "decide": decide,
    }
    commands[sys.argv[1]](*sys.argv[2:])
