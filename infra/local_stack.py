"""Set up the local stack (infra/stacks/local.yaml), kept in the project: `.rere/zenml`. Safe to repeat, also at once.

Database, artifacts and MLflow are embedded: no server, no network. Writes `.rere/env.sh`, which the activated virtual
environment and the Makefile read.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".rere"
CACHES = {  # kept in the project, not in the user's home, unless the user says where
    "HF_HOME": "huggingface",
    "MPLCONFIGDIR": "matplotlib",
    "RERE_CACHE_DIR": "rere",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "TRITON_CACHE_DIR": "triton",
    "UV_CACHE_DIR": "uv",  # MLflow asks uv, if it is installed, for a model's requirements
}


def set_up(home: Path) -> dict[str, str]:
    """Register and activate the stack in `home`, with all tables; returns the environment that finds it."""
    environment = {
        "RERE_PROJECT": str(ROOT),
        "ZENML_REPOSITORY_PATH": str(ROOT),  # so `zenml pipeline run` finds the code from any directory
        "ZENML_CONFIG_PATH": str(home / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_ENABLE_RICH_TRACEBACK": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",  # it keeps an id in the user's home, too
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",  # processor, memory, disk, GPU, every ten seconds of a step
    }
    os.environ.update(environment)  # before zenml is imported: it reads them once
    for name, directory in caches(home).items():
        os.environ.setdefault(name, directory)

    from mlflow import MlflowClient
    from zenml.client import Client

    sys.path.insert(0, str(ROOT))  # where it is started by its path
    from infra.stack import read, register

    register(read("local"))
    tracker = Client().active_stack.experiment_tracker
    assert tracker is not None
    environment["MLFLOW_TRACKING_URI"] = tracker.get_tracking_uri()  # type: ignore[attr-defined]
    # MLflow makes its tables when it is first asked something: here, so that no two runs do so at once.
    MlflowClient(environment["MLFLOW_TRACKING_URI"]).search_experiments(max_results=1)
    return environment


def caches(home: Path) -> dict[str, str]:
    """Where libraries keep what they download or compile."""
    return {name: str(home / "cache" / directory) for name, directory in CACHES.items()}


def script(environment: dict[str, str], defaults: dict[str, str]) -> str:
    """What a shell reads: sets the environment, and of the defaults those that are not set."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f'[ -n "${{{name}:-}}" ] || export {name}={shlex.quote(value)}' for name, value in defaults.items()]
    return "\n".join(lines) + "\n"


def main(home: Path = HOME) -> None:
    argparse.ArgumentParser(prog="make stack", description=__doc__).parse_args()
    try:
        home.mkdir(exist_ok=True)
        with (home / "stack.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            environment = set_up(home)
            (home / "env.sh").write_text(script(environment, caches(home)), encoding="utf-8")
    except OSError as error:
        raise SystemExit(
            f"Expected to write {home}; got {error.strerror or error}. Fix: make it writable, or free space."
        ) from None
    print("The stack rere_local is ready. Next: source .venv/bin/activate && zenml pipeline run rere_pipeline")


if __name__ == "__main__":
    main()
