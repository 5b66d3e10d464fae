"""Nothing here reads or writes the user's home: each test process has caches of its own and an empty home.

`tests/__init__.py` calls this before anything else is imported: ZenML makes a database while it is.
Processes of one run (`-n 2`) share the empty home, and nothing else: two that make one database at once break it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SCRATCH = "RERE_TESTS_SCRATCH"  # set by the first process of a run, inherited by the others
DEVICE = "RERE_TESTS_DEVICE"  # "cuda": stages are trained and judged on a GPU; else all is on the CPU
STRANGER = 54321  # a user that the machine has no name and no home for, as a container's often is

OWN = {  # variable: what it names, below the process's own directory
    "CUDA_CACHE_PATH": "cuda",
    "HF_HOME": "huggingface",
    "MLFLOW_TRACKING_URI": "sqlite:///{}/mlflow.db",
    "MPLCONFIGDIR": "matplotlib",
    "RERE_CACHE_DIR": "rere",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "TRITON_CACHE_DIR": "triton",
    "UV_CACHE_DIR": "uv",
    "ZENML_CONFIG_PATH": "zenml",
}
ACTIVE = Path(__file__).resolve().parents[1] / ".zen" / "config.yaml"  # the project's active stack
SHARED = ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")


def isolate() -> None:
    """Point this process, and those that it starts, to directories of its own."""
    if SCRATCH not in os.environ:
        os.environ[SCRATCH] = tempfile.mkdtemp(prefix="rere-tests-")
        atexit.register(shutil.rmtree, os.environ[SCRATCH], ignore_errors=True)
        atexit.register(_keep, ACTIVE, ACTIVE.read_bytes() if ACTIVE.exists() else None)
    scratch = Path(os.environ[SCRATCH])
    own = scratch / os.environ.get("PYTEST_XDIST_WORKER", "main")
    for variable, name in OWN.items():
        os.environ[variable] = name.format(own) if "{}" in name else str(own / name)
    for variable in SHARED:
        os.environ.pop(variable, None)
    own.mkdir(exist_ok=True)
    home().mkdir(exist_ok=True)
    if os.environ.get(DEVICE) != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same on every machine
    os.environ.update(HOME=str(home()), ZENML_ANALYTICS_OPT_IN="false", MLFLOW_DISABLE_TELEMETRY="true")


def _keep(file: Path, content: bytes | None) -> None:
    """Bring a file back to what it was: ZenML, which finds another store in the tests, resets the active stack."""
    if content is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(content)


@contextlib.contextmanager
def project_kept() -> Iterator[None]:
    """What is set within it of the variables that name a project and its store is undone: commands set them, too."""
    before = _of_project()
    try:
        yield
    finally:
        for name in _of_project().keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _of_project() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("RERE_", "ZENML_"))}


def home() -> Path:
    """The empty home, of all processes of a run."""
    return Path(os.environ[SCRATCH]) / "home"


def as_a_stranger() -> tuple[list[str], dict[str, str]]:
    """What to put before a command, and its environment: a user without a name whose home can't be written.

    None of this process's own directories is in the environment: the command must find its own. Without user namespaces
    on the machine, it runs as this user, with a home that no directory can be.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    for name in ("LNAME", "LOGNAME", "USER", "USERNAME"):
        environment.pop(name, None)
    prefix = _nameless()
    if not prefix:
        return [], environment | {"HOME": "/dev/null/home"}
    locked = Path(os.environ[SCRATCH]) / "locked"
    locked.mkdir(exist_ok=True)
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    return list(prefix), environment | {"HOME": str(locked)}


@functools.cache
def _nameless() -> tuple[str, ...]:
    """The command that turns this user into one without a name; empty where that is forbidden."""
    prefix = ("unshare", "--user", f"--map-user={STRANGER}")
    if shutil.which(prefix[0]) is None:
        return ()
    return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else ()
