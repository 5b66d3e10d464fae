"""What a stack in a cluster talks to, for real: PostgreSQL, MLflow on it, an S3 store (moto), a ZenML server."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from infra import patience
from infra.ports import HOST, free_port

KEY, SECRET, PASSWORD = "store-key", "store-secret", "rere-password"
ZENML_SERVER = "RERE_ZENML_SERVER_PYTHON"


class Remote(NamedTuple):
    """URLs of what a stack elsewhere talks to."""

    store: str
    tracking: str
    zenml: str


def missing(*packages: str) -> str | None:
    """What this machine lacks for `remote` (and of these packages), or None."""
    if not postgres_programs():
        return "needs PostgreSQL: apt-get install postgresql"
    if not zenml_server_python():
        return "needs zenml[server]: make test-k8s installs it"
    for package in ("moto", "boto3", "s3fs", "psycopg2", *packages):
        try:
            __import__(package)
        except ImportError:
            return f"needs the k8s extra ({package}): make test-k8s installs it"
    return None


@contextlib.contextmanager
def remote(directory: Path, bucket: str) -> Iterator[Remote]:
    """An S3 store with the bucket, MLflow on PostgreSQL, a ZenML server; logs are in the directory."""
    programs, server = postgres_programs(), zenml_server_python()
    assert programs
    assert server
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(programs))
        store = stack.enter_context(s3(bucket, "mlflow"))
        tracking = stack.enter_context(mlflow(database, store, directory))
        yield Remote(store, tracking, stack.enter_context(zenml_server(server, directory)))


def postgres_programs() -> Path | None:
    """The directory of PostgreSQL's programs: on PATH, or where Debian keeps them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    paths = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return paths[-1].parent if paths else None


def zenml_server_python() -> Path | None:
    """The Python that has `zenml[server]`: `$RERE_ZENML_SERVER_PYTHON`, set by `make test-k8s`, or this one."""
    if given := os.environ.get(ZENML_SERVER):
        return Path(given) if Path(given).exists() else None
    code = "import jwt, secure, tldextract, zenml.zen_server"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True)
    return None if asked.returncode else Path(sys.executable)


@contextlib.contextmanager
def service(
    command: list[str], ready: Callable[[], bool], log: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a server while the body runs.

    Raises:
        RuntimeError: it ended before it was ready; with the end of its log.
        Hung: it isn't ready, and does nothing.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        watch = patience.Watch(psutil.Process(process.pid))
        while not ready():
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')[-3000:]}")
            watch.look(f"{command[0]}, whose log is {log}")
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


def _end_with_parent() -> None:
    """A test run that is killed leaves no server behind (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return ask


@contextlib.contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """A fresh PostgreSQL with a database `mlflow`; gives its SQLAlchemy URL."""
    home = Path(tempfile.mkdtemp(prefix="rere-postgres-"))  # its user must be able to walk there
    port, other_user = free_port(), []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(home, "postgres", "postgres")
        other_user = ["runuser", "-u", "postgres", "--"]
    try:
        made = [str(programs / "initdb"), "-D", str(home / "data"), "-A", "trust", "-U", "mlflow", "--no-sync"]
        subprocess.run([*other_user, *made], check=True, capture_output=True, cwd="/")
        options = ["-c", f"listen_addresses={HOST}", "-c", f"unix_socket_directories={home}", "-c", "fsync=off"]
        command = [*other_user, str(programs / "postgres"), "-D", str(home / "data"), "-p", str(port), *options]
        psql = [str(programs / "psql"), "-h", HOST, "-p", str(port), "-U", "mlflow", "-d", "postgres"]

        def ready() -> bool:
            return subprocess.run([*psql, "-c", "create database mlflow"], capture_output=True).returncode == 0

        with service(command, ready, home / "log"):
            yield f"postgresql+psycopg2://mlflow@{HOST}:{port}/mlflow"
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def s3(*buckets: str) -> Iterator[str]:
    """An S3 store by moto, in this process, with the buckets; gives its URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        yield url
    finally:
        server.stop()


@contextlib.contextmanager
def mlflow(database: str, store: str, directory: Path) -> Iterator[str]:
    """An MLflow server: runs and registry in the database, artifacts in the store's bucket `mlflow`."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": store,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no workers for what nobody asks for
    }
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", database, "--artifacts-destination", "s3://mlflow"),
    ]
    with service(command, answers(f"{url}/health"), directory / "mlflow.log", environment):
        yield url


@contextlib.contextmanager
def zenml_server(python: Path, directory: Path) -> Iterator[str]:
    """A ZenML server of a remote type, with its own SQLite database."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    environment = {
        "ZENML_CONFIG_PATH": str(directory / "zenml-server"),
        "ZENML_SERVER": "true",
        "ZENML_SERVER_DEPLOYMENT_TYPE": "other",
        "ZENML_SERVER_AUTO_ACTIVATE": "true",
        "ZENML_DEFAULT_USER_PASSWORD": PASSWORD,
        "ZENML_ANALYTICS_OPT_IN": "false",
        "PYTHONPATH": "",
    }
    application = "zenml.zen_server.zen_server_api:app"
    command = [str(python), "-m", "uvicorn", application, "--host", HOST, "--port", str(port), "--log-level", "warning"]
    with service(command, answers(f"{url}/health"), directory / "zenml-server.log", environment):
        yield url
