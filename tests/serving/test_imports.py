"""A server needs no trainer: what it imports."""

from __future__ import annotations

import subprocess
import sys

TRAINERS = ("datasets", "great_expectations", "mlflow", "trl", "zenml")


def test_importing_the_server_imports_no_trainer_and_no_orchestrator() -> None:
    modules = ("rere.serving.http.app", "rere.serving.http.server", "rere.serving.engine.deployment")
    code = f"import sys, {', '.join(modules)}; print(*sorted({set(TRAINERS)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr or done.stdout
