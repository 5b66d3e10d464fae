"""The promotion review: complete, safe whatever the titles are, and good on a phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.pictures import browser
from rere.config.promotion import GateConfig
from rere.data.validation_report import Check as DataCheck
from rere.data.validation_report import DriftRow, FailingRow
from rere.errors import RereError
from rere.evaluation.gate import Check, Verdict
from rere.reporting.review import REGRESSIONS, USERS, ReviewInputs, render_review
from tests.browser import needs_chromium
from tests.evaluation.test_report import CONFIG, HOSTILE, ITEMS, ROWS, Elements, curves, results_of

GATE = GateConfig(bootstrap_samples=200, minimum_segment_rows=5)


def inputs(challenger: pd.DataFrame | None = None) -> ReviewInputs:
    checks = (
        Check(name="not worse", value=0.0123, threshold=-0.005, passed=True, explanation="It is <b>so</b>."),
        Check(name="no invalid items", value=3, threshold=0, passed=False, explanation="3 slots."),
        Check(name="nothing held", value=None, threshold=None, passed=True, explanation="None."),
    )
    warned = DataCheck(
        name="titles are unique",
        table="items",
        severity="warning",
        passed=False,
        expected="no shared title",
        observed="1 failing row",
        remedy="none",
        failing=1,
        rows=(FailingRow(row=3, values={"title": HOSTILE[0]}),),
    )
    marked = pd.DataFrame(
        {"new users": np.arange(ROWS) < 10, "cold items": np.zeros(ROWS, dtype=bool)}, index=np.arange(ROWS)
    )
    return ReviewInputs(
        model="rere",
        content="0123456789abcdef",
        verdict=Verdict.of(list(checks)),
        notes=("A <i>note</i>.",),
        challenger=results_of("ReRe", 0.5) if challenger is None else challenger,
        rival=results_of("champion", 0.4),
        rival_name="champion, version 3",
        segments=marked,
        training_counts=np.arange(ITEMS),
        titles=[*HOSTILE, *(f"Title {n}" for n in range(len(HOSTILE), ITEMS))],
        histories=[[n % ITEMS for n in range(row, row + 1 + row % 13)] for row in range(ROWS)],
        validation=[warned],
        drift=(
            DriftRow(metric="interactions", previous=90_000, current=100_000, psi=None),
            DriftRow(metric="user activity (mean)", previous=99.5, current=104.25, psi=0.0123),
        ),
        curves=curves(),
        cost=[("SFT training", "12 s")],
        lineage={
            "challenger": {"git": {"commit": "abc123"}, "seeds": {"rl": 7}},
            "champion": {"data": {"x.csv": "ff"}},
        },
        gate=GATE,
        config=CONFIG,
    )


def test_everything_a_reviewer_needs_is_on_it() -> None:
    page = render_review(inputs())
    elements = Elements(page)
    assert not elements.open
    for part in (
        "champion, version 3",
        "0.0123",
        "limit 0",
        "titles are unique",
        "abc123",
        "12 s",
        "x.csv",
        "rere approve",
    ):
        assert part in page
    assert page.count('class="card pad example"') == USERS
    tables = {attributes["id"] for tag, attributes in elements.found if tag == "table" and "id" in attributes}
    assert tables == {"metrics", "segments", "regressions", "drift", "validation", "cost"}
    drift = page.split('id="drift"')[1].split("</table>")[0]
    assert all(figure in drift for figure in ("90,000", "100,000", "99.5", "104.2", "0.0123", "–"))


def test_nothing_comes_from_elsewhere_and_titles_stay_text() -> None:
    page = render_review(inputs())
    elements = Elements(page)
    assert not [tag for tag, _ in elements.found if tag in ("script", "img", "link", "iframe")]
    assert "<b>so</b>" not in page
    assert "<i>note</i>" not in page
    assert "49" not in page.split("{{ 7 * 7 }}")[0][-5:]


def test_the_largest_regressions_are_the_rows_that_fell_most() -> None:
    ours = results_of("champion", 0.4).assign(model="ReRe")
    assert "No row got worse." in render_review(inputs(ours))
    hits = np.flatnonzero(ours["rank"] > 0)
    ours.loc[hits, "rank"] = 0
    page = render_review(inputs(ours))
    table = page.split('id="regressions"')[1].split("</table>")[0]
    assert table.count("<tr>") - 1 == min(REGRESSIONS, len(hits))
    best = results_of("champion", 0.4)["rank"].where(lambda rank: rank > 0).idxmin()
    assert f"<th>u{best}</th>" in table.split("</tr>")[1]  # the first row of the body


def test_both_must_be_judged_on_the_same_rows() -> None:
    with pytest.raises(RereError, match="the same rows"):
        render_review(inputs(results_of("ReRe", 0.5).assign(target=1)))


@needs_chromium
def test_it_fits_a_desktop_and_a_phone_light_and_dark(tmp_path: Path) -> None:
    path = tmp_path / "review.html"
    path.write_text(render_review(inputs()), encoding="utf-8")
    seen: dict[str, str] = {}
    with browser() as opened:
        schemes: dict[Any, int] = {"light": 1200, "dark": 375}
        for scheme, width in schemes.items():
            page = opened.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width  # tables scroll inside their cards
            assert asked == [path.as_uri()]
            assert page.get_by_text("The gate did not pass", exact=True).is_visible()
            seen[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            if place := os.environ.get("RERE_SCREENSHOTS"):
                page.screenshot(path=Path(place) / f"review-{width}.png", full_page=True)
    assert seen["light"] != seen["dark"]
