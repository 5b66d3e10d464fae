"""The promotion review: complete, safe whatever the titles are, and good on a phone."""

from __future__ import annotations

import dataclasses
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
from rere.evaluation.bootstrap import Estimate
from rere.evaluation.verdict import Check, Verdict
from rere.reporting.in_words import Hits, Standing, in_one_sentence
from rere.reporting.review import REGRESSIONS, USERS, ReviewInputs, render_review
from tests.browser import needs_chromium
from tests.evaluation.test_report import CONFIG, HOSTILE, ITEMS, ROWS, Elements, curves, results_of

CUT = """() => [...document.querySelectorAll("main *")]  // what is wider than its place and can't be scrolled to
  .filter(each => each.offsetParent && !each.closest("svg") && !each.closest(".scroll")
    && (each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== "inline"
      || each.getBoundingClientRect().right > innerWidth + 1))
  .map(each => each.outerHTML.slice(0, 120))"""
HINTS = """() => [...document.querySelectorAll(".scroll")].map(each =>
  [each.scrollWidth > each.clientWidth, getComputedStyle(each, "::before").visibility === "visible"])"""
GATE = GateConfig(bootstrap_samples=200, minimum_segment_rows=5)


def inputs(challenger: pd.DataFrame | None = None) -> ReviewInputs:
    checks = (
        Check(
            name="not worse",
            value=-0.0021,
            threshold=-0.005,
            passed=True,
            explanation="It is <b>so</b>.",
            estimate=0.0123,
        ),
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
        version="7",
        content="0123456789abcdef",
        standing="challenger",
        commands=[("Let users have it:", "rere approve 7 --by YOU --reason WHY")],
        concerns=("This run's gate asks less.",),
        verdict=Verdict.of(list(checks)),
        notes=("A <i>note</i>.", "Warning: the item model EASE ranks better."),
        challenger=results_of("ReRe", 0.5) if challenger is None else challenger,
        rival=results_of("champion", 0.4),
        rival_name="champion, version 3",
        popularity=results_of("popularity", 0.1),
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
        "rere approve 7 --by YOU",
    ):
        assert part in page
    assert page.count('class="card pad example"') == USERS
    tables = {attributes["id"] for tag, attributes in elements.found if tag == "table" and "id" in attributes}
    assert tables == {"metrics", "segments", "regressions", "drift", "validation"}
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


def test_the_first_screen_says_it_in_words_and_in_this_order() -> None:
    page = render_review(inputs())
    ours, theirs = results_of("ReRe", 0.5), results_of("champion", 0.4)
    now, before = ((frame["rank"].between(1, 10)).sum() for frame in (ours, theirs))
    begin = f"among the first 10 recommendations {now * 25:,} times in 1,000"  # of 40 rows
    assert begin in page
    parts = [
        begin,
        "<h2>Verdict</h2>",
        "<h2>Cost</h2>",
        "<h2>Risk</h2>",
        "rere approve 7",
        "side by side",
        "checks</h2>",
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert f"{(now - before) * 25:,}" in page[: places[1]] or "may be chance" in page[: places[1]]


def test_a_gain_is_the_gain_and_a_warning_looks_like_one() -> None:
    page = render_review(inputs())
    checks = page.split('class="reasons"')[1]
    assert "+0.0123<small" in checks  # not the interval's lower end, which is held against the limit
    assert "interval's end −0.0021, limit −0.0050" in checks
    assert '<span class="mark warn">titles are unique</span>' in page
    assert '<span class="mark warn"><span>The item model EASE ranks better.</span>' in page
    assert "1 check of the data warned." in page
    assert '<li><span class="mark bad">no invalid items</span></li>' in page


def test_every_interval_is_by_the_gate_s_method() -> None:
    asked = dataclasses.replace(
        inputs(), config=CONFIG.model_copy(update={"confidence": 0.5, "seed": 9, "bootstrap_samples": 100})
    )
    assert render_review(asked) == render_review(inputs())


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_a_desktop_and_a_phone_light_and_dark(width: int, tmp_path: Path) -> None:
    path = tmp_path / "review.html"
    path.write_text(render_review(inputs()), encoding="utf-8")
    seen: dict[str, str] = {}
    schemes: tuple[Any, ...] = ("light", "dark")
    with browser() as opened:
        for scheme in schemes:
            page = opened.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(CUT) == []
            hints = page.evaluate(HINTS)
            assert len(hints) == 5
            assert all(hinted == wide for wide, hinted in hints)
            assert asked == [path.as_uri()]
            assert page.get_by_text("The gate did not pass", exact=True).first.is_visible()
            seen[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            if place := os.environ.get("RERE_SCREENSHOTS"):
                page.screenshot(path=Path(place) / f"review-{width}-{scheme}.png", full_page=True)
    assert seen["light"] != seen["dark"]
    assert any(wide for wide, _ in hints) == (width == 390)


def test_the_sentence_says_what_changes_and_how_sure_that_is() -> None:
    def said(gain: Estimate, standing: Standing = "challenger") -> str:
        return in_one_sentence(Hits(10, 0.096, 0.084, 9, 3, gain), standing, "the champion, version 3", 0.95)

    often = "the item that they take next is among the first 10 recommendations 96 times in 1,000"
    better, worse, open_ = (Estimate(mean, mean - 0.008, mean + 0.008, 0.01) for mean in (0.012, -0.012, 0.004))
    assert said(better) == (
        f"For users, {often}, 12 more than with the champion, version 3, and that is sure: 4 to 20 more, with 95% "
        "confidence."
    )
    assert "12 fewer than with the champion, version 3, and that is sure: 4 to 20 fewer" in said(worse)
    assert "84 times. That difference may be chance: between 4 fewer and 12 more" in said(open_)
    assert said(better, "first").startswith(f"This would be the first model that users get: {often}, 12 more")
    assert said(better, "unjudged").startswith("The champion can't be judged. For users, ")
    assert said(worse, "champion") == "Nothing changes for users: this very model is the champion already."


def test_rare_hits_are_counted_in_more_times() -> None:
    none = Estimate(0.0, -0.001, 0.001, 1.0)
    scales = [Hits(10, now, before, 0, 0, none).scale for now, before in [(0.02, 0.03), (0.0012, 0.02), (0.0, 1e-9)]]
    assert scales == [1_000, 10_000, 100_000]
