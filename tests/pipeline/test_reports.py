"""Each run's pages stay; the ones above them lead to the newest run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.runtime.reports import write_report


def test_a_run_keeps_its_report_and_latest_leads_to_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERE_REPORTS_DIR", str(tmp_path / "reports"))
    first = write_report("one", "report", link="latest", run="monday")
    assert (tmp_path / "reports" / "latest.html").read_text(encoding="utf-8") == "one"
    second = write_report("two", "report", link="latest", run="tuesday")
    assert (tmp_path / "reports" / "latest.html").resolve() == second.resolve()
    assert [page.read_text(encoding="utf-8") for page in (first, second)] == ["one", "two"]
    moved = (tmp_path / "reports").rename(tmp_path / "elsewhere")
    assert (moved / "latest.html").read_text(encoding="utf-8") == "two"


def test_a_page_of_an_earlier_version_is_replaced_by_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERE_REPORTS_DIR", str(tmp_path))
    (tmp_path / "review.html").write_text("old", encoding="utf-8")
    write_report("new", "review", run="../up")
    assert (tmp_path / "review.html").read_text(encoding="utf-8") == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "review.html"}
