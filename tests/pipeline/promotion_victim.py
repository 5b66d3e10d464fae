"""A promotion that is killed at every boundary in turn, each time by a real SIGKILL, and started again.

Run in the project. Prints a line per boundary, `name killed`, and at last `end 0`. Each process is forked once imports
are done, so that a start costs no seconds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import mlflow.models.utils  # noqa: F401  with what follows: all that the children would import
import zenml.client  # noqa: F401
from zenml import pipeline

from ops.registry import champion_record, zenml_registry
from ops.registry import mlflow_registry as registry
from ops.registry.anchor import ANCHOR
from rere.config.evaluation import EvaluationConfig
from rere.evaluation.verdict import Verdict
from rere.recommenders.generative import GenerativeRecommender  # noqa: F401
from steps import promote

NAME, CONTENT = "drill", "c0ffee"


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_naming(mortal: str) -> Callable[[str, str, str], None]:
    def set_or_die(name: str, alias: str, version: str) -> None:
        if alias == mortal:
            die()
        set_alias(name, alias, version)

    return set_or_die


set_alias = registry.set_alias
# What the process was about to do when it died: everything before that in the list was done.
BOUNDARIES: dict[str, Callable[[], None]] = {
    "register in MLflow": lambda: setattr(registry, "register", die),
    "tag the version": lambda: setattr(registry, "tag", die),
    "make the ZenML version": lambda: setattr(zenml_registry, "find_or_make", die),
    "describe the ZenML version": lambda: setattr(zenml_registry, "log_metadata", die),
    "write the log": lambda: setattr(champion_record, "append", die),
    "copy the log": lambda: setattr(zenml_registry, "add_metadata", die),
    "name the champion": lambda: setattr(registry, "set_alias", dies_naming(registry.CHAMPION)),
    "set the stage": lambda: setattr(zenml_registry, "set_production", die),
    "name the anchor": lambda: setattr(registry, "set_alias", dies_naming(ANCHOR)),
}


def run() -> None:
    """What the gate does before, then the real step."""
    from zenml.client import Client

    champion_record.repair(NAME)
    present, known = registry.champion_version(NAME), registry.find_version(NAME, CONTENT)
    verdict = Verdict(passed=True, checks=())
    is_champion = present is not None and present == known
    names = ("dataset", "sft_model", "rl_model", "catalog", "prior", "windows", "metrics", "report", "review")
    artifacts: dict[str, Any] = {name: Client().get_artifact_version(name) for name in names}
    judged = {"model": NAME, "content": CONTENT, "champion": present, "is_champion": is_champion, "verdict": verdict}
    artifacts["review"] = artifacts["review"].load().model_copy(update=judged)

    @pipeline(enable_cache=False)
    def promotion() -> None:
        promote.promote(**artifacts, evaluation=EvaluationConfig(), decided_by="gate")

    promotion()


def killed_at(boundary: str, arrange: Callable[[], None]) -> int:
    """Exit status of a process that runs until the boundary; minus the signal's number where one ended it."""
    child = os.fork()
    if not child:
        arrange()
        run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for boundary, arrange in BOUNDARIES.items():
        status = killed_at(boundary, arrange)
        print(boundary, "killed" if status == -signal.SIGKILL else status, flush=True)
    print("end", killed_at("end", lambda: None), flush=True)
