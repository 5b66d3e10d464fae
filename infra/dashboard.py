"""The ZenML dashboard over the local stack's own database: `make dashboard`.

`zenml login --local` needs the server's packages beside ours, which want another FastAPI, and it points the client to
the server for good. This server has an environment of its own, reads and writes the same files, and ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from infra.browse import open_beside

PORT = 8237  # ZenML's own
ADDRESS = "127.0.0.1"  # it asks nobody for a password
RUNS = "/projects/default/runs"


def environment(store: Path) -> dict[str, str]:
    """What makes ZenML's server one for this machine alone, on the files of the client whose directory is `store`."""
    return {
        "DISABLE_DATABASE_MIGRATION": "true",  # the client has made the tables
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_CONFIG_PATH": str(store.with_name("dashboard")),
        "ZENML_LOCAL_STORES_PATH": str(store / "local_stores"),
        "ZENML_SERVER": "true",
        "ZENML_SERVER_ALLOW_LOCAL_FILE_ACCESS": "true",  # reports and tables of the runs
        "ZENML_SERVER_AUTH_SCHEME": "NO_AUTH",
        "ZENML_SERVER_AUTO_ACTIVATE": "true",
        "ZENML_SERVER_DEPLOYMENT_TYPE": "local",
    }


def command(python: str, port: int) -> list[str]:
    application = "zenml.zen_server.zen_server_api:app"
    return [python, "-m", "uvicorn", application, "--host", ADDRESS, "--port", str(port), "--log-level", "warning"]


def inherited() -> dict[str, str]:
    """This process's environment without what would lead the server to another store or other packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ZENML_STORE_URL")}


def skip_survey() -> None:
    """Answer for the local user what the dashboard asks before it shows anything: no name, no e-mail, no news."""
    from zenml.client import Client

    user = Client().active_user
    if user.email_opted_in is None:
        Client().update_user(user.id, updated_email_opt_in=False, updated_metadata={"finished_onboarding_survey": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True, help="of an environment with zenml[server]")
    parser.add_argument("--port", type=int, default=PORT)
    arguments = parser.parse_args()
    skip_survey()
    page = f"http://{ADDRESS}:{arguments.port}{RUNS}"
    print(f"The dashboard is at {page} in some seconds. Ctrl-C ends it.", flush=True)
    open_beside(page)
    server = inherited() | environment(Path(os.environ["ZENML_CONFIG_PATH"]))
    os.execve(arguments.python, command(arguments.python, arguments.port), server)


if __name__ == "__main__":
    main()
