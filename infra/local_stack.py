"""Set up the local stack (infra/stacks/local.yaml), kept in the project: `.rere/zenml`. Safe to repeat.

Database, artifacts and MLflow are embedded: no server, no network. Writes `.rere/env.sh`, which the activated virtual
environment and the Makefile read.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".rere"


def set_up(home: Path) -> dict[str, str]:
    """Register and activate the stack in `home`; returns the environment that finds it."""
    environment = {
        "RERE_PROJECT": str(ROOT),
        "ZENML_REPOSITORY_PATH": str(ROOT),  # so `zenml pipeline run` finds the code from any directory
        "ZENML_CONFIG_PATH": str(home / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_ENABLE_RICH_TRACEBACK": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    os.environ.update(environment)  # before zenml is imported: it reads them once

    from zenml.client import Client

    from infra.stack import read, register

    register(read("local"))
    tracker = Client().active_stack.experiment_tracker
    assert tracker is not None
    environment["MLFLOW_TRACKING_URI"] = tracker.get_tracking_uri()  # type: ignore[attr-defined]
    return environment


def main() -> None:
    HOME.mkdir(exist_ok=True)
    environment = set_up(HOME)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    (HOME / "env.sh").write_text("".join(lines), encoding="utf-8")
    print("The stack rere_local is ready. Next: source .venv/bin/activate && zenml pipeline run rere_pipeline")


if __name__ == "__main__":
    main()
