"""One process that registers stacks and compiles a run, which several tests look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.patience import run
from tests.pipeline.conftest import copy_project


@pytest.fixture(scope="session")
def drill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `drill.py` prints, in a copy of the project with an empty store."""
    root = tmp_path_factory.mktemp("drill")
    copy_project(root)
    environment = {
        "PYTHONPATH": str(root),
        "ZENML_CONFIG_PATH": str(root / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "NO_COLOR": "1",
        "ZENML_LOGGING_COLORS_DISABLED": "true",
    }
    script = Path(__file__).with_name("drill.py")
    done = run(
        [sys.executable, str(script), "configs/k8s.yaml"],
        stderr=subprocess.PIPE,
        cwd=root,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
