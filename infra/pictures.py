"""Make the pictures of README and docs from a real run: `make pictures`, after `make demo`.

They show the last model report and the service's page with the newest model. Needs Chromium, or Chrome.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.patience import until
from rere.errors import RereError

ROOT = Path(__file__).resolve().parents[1]
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
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
    page.locator("#list li").first.wait_for()
    page.screenshot(path=target)
    page.close()


@contextmanager
def serving(alias: str) -> Iterator[str]:
    """The address of `rere serve` for an alias; ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("rere")), "serve", "--alias", alias, "--port", str(port)]
    child = subprocess.Popen(command, cwd=ROOT)
    try:
        until(lambda: child.poll() is not None or _answers(port))
        if child.poll() is not None:
            raise RereError(f"a service for the alias {alias!r}", "one that ended", "see its message above")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images", help="directory of the pictures")
    parser.add_argument("--alias", default="challenger", help="of the model that is served (default: the newest)")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    with browser() as opened:
        picture_of_report(opened, ROOT / "reports" / "latest.html", given.to / "report.png")
        with serving(given.alias) as address:
            picture_of_service(opened, address, given.to / "service.png")


if __name__ == "__main__":
    try:
        main()
    except RereError as error:
        sys.exit(str(error))
