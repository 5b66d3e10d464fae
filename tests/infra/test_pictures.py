"""The pictures' script, on a small page and a small service."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.pictures import browser, picture_of_report, picture_of_service
from rere.errors import RereError
from tests.browser import needs_chromium
from tests.serving.helpers import running

PNG = b"\x89PNG"


@needs_chromium
def test_pictures_of_report_and_service(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<h1>Report</h1>", encoding="utf-8")
    with browser() as opened, running() as (client, _):
        picture_of_report(opened, report, tmp_path / "report.png")
        picture_of_service(opened, str(client.base_url), tmp_path / "service.png")
        with pytest.raises(RereError, match="make demo"):
            picture_of_report(opened, tmp_path / "none.html", tmp_path / "none.png")
    assert (tmp_path / "report.png").read_bytes()[:4] == PNG == (tmp_path / "service.png").read_bytes()[:4]
