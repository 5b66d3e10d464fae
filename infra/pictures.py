"""Make the pictures of README and docs from a real run: `make pictures`, after `make demo`.

They show the last model report, the service's page with the newest model, and what MLflow and ZenML's dashboard hold of
them. Needs Chromium, or Chrome.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra import dashboard
from infra.patience import until
from infra.ports import HOST, answers, free_port
from rere.config.promotion import PromotionConfig
from rere.errors import RereError

ROOT = Path(__file__).resolve().parents[1]
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DRAWN = 3000  # milliseconds: what stands around the text, and graphs
REPORT, SERVICE = {"width": 1280, "height": 1500}, {"width": 1280, "height": 720}  # pixels


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser with a profile that is thrown away; RereError where there is none."""
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        raise RereError("Chromium or Chrome on this machine", "none", "install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox"], env={**os.environ, "HOME": profile}
        )
        yield opened
        opened.close()


def picture_of_report(opened: Any, report: Path, target: Path) -> None:
    """The report's first screen; RereError without a report."""
    if not report.is_file():
        raise RereError(f"a model report at {report}", "none", "run `make demo` first")
    page = opened.new_page(viewport=REPORT, color_scheme="light")
    page.goto(report.resolve().as_uri())
    page.screenshot(path=target)
    page.close()


def picture_of_service(opened: Any, address: str, target: Path) -> None:
    """The page with its own example and the recommendations for it."""
    page = opened.new_page(viewport=SERVICE, color_scheme="light")
    page.goto(address)
    page.get_by_role("button", name="Start with an example").click()
    page.locator("#list[data-based-on=history] li").first.wait_for()  # before it, the page shows what is popular
    page.screenshot(path=target)
    page.close()


def picture_of(opened: Any, address: str, shows: str, target: Path) -> None:
    """A page that somebody else makes, soon after it shows a text."""
    page = opened.new_page(viewport=SERVICE, color_scheme="light")
    page.goto(address)
    page.get_by_text(shows).first.wait_for()
    page.wait_for_timeout(DRAWN)
    page.screenshot(path=target)
    page.close()


@contextmanager
def running(command: Callable[[int], list[str]], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a server, started by the command for a free port; ended afterwards."""
    port = free_port()
    address = f"http://{HOST}:{port}"
    child = subprocess.Popen(command(port), cwd=ROOT, env=None if environment is None else dict(environment))
    try:
        until(lambda: child.poll() is not None or answers(address))
        if child.poll() is not None:
            raise RereError("a server that runs", f"one that ended: {' '.join(command(port))}", "see its message above")
        yield address
    finally:
        child.terminate()
        child.wait()


def _servers(alias: str) -> tuple[str, str]:
    """Paths of the pages of the newest model in MLflow and of the newest run in ZenML's dashboard."""
    from mlflow import MlflowClient
    from zenml.client import Client

    model = MlflowClient().get_model_version_by_alias(PromotionConfig().model_name, alias)
    run = Client().list_pipeline_runs(sort_by="desc:created", size=1)[0]
    return f"/#/models/{model.name}/versions/{model.version}", f"{dashboard.RUNS}/{run.id}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images", help="directory of the pictures")
    parser.add_argument("--alias", default="challenger", help="of the model that is served (default: the newest)")
    parser.add_argument("--server-python", required=True, help="of an environment with zenml[server]")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    here, store = Path(sys.executable), Path(os.environ["ZENML_CONFIG_PATH"])
    dashboard.skip_survey()
    model, run = _servers(given.alias)
    with browser() as opened:
        picture_of_report(opened, ROOT / "reports" / "latest.html", given.to / "report.png")
        with running(
            lambda port: [str(here.with_name("rere")), "serve", "--alias", given.alias, "--port", str(port)]
        ) as at:
            picture_of_service(opened, at, given.to / "service.png")
        tracking = ["ui", "--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"], "--port"]
        with running(lambda port: [str(here.with_name("mlflow")), *tracking, str(port)]) as at:
            picture_of(opened, at + model, "How good it is", given.to / "mlflow.png")
        environment = dashboard.inherited() | dashboard.environment(store)
        with running(lambda port: dashboard.command(given.server_python, port), environment) as at:
            picture_of(opened, at + run, "Total Steps", given.to / "dashboard.png")


if __name__ == "__main__":
    try:
        main()
    except RereError as error:
        sys.exit(str(error))
