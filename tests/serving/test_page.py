"""The page in a real browser, on a desktop's and a phone's screen.

`RERE_SCREENSHOTS=DIRECTORY` keeps pictures of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from infra import pictures
from rere.config.served_model import ServedModelConfig
from rere.recommenders.co_occurrence import CoOccurrence, CoOccurrenceConfig
from rere.recommenders.item_model import FitData
from rere.recommenders.prior import Prior
from rere.serving.http.access import Tokens
from tests.browser import needs_chromium
from tests.serving.helpers import TITLES, running, tiny_catalog, tiny_deployment

HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
SCREENS = {"desktop": {"width": 1200, "height": 800}, "phone": {"width": 375, "height": 740}}

pytestmark = needs_chromium
PATIENCE = 120_000  # milliseconds; a busy machine takes its time


@pytest.fixture(scope="module")
def address() -> Iterator[httpx.URL]:
    with running(deployment=tiny_deployment("3", tiny_catalog([*TITLES, HOSTILE, "Les Misérables (1995)"]))) as (
        client,
        _,
    ):
        yield client.base_url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with pictures.browser() as opened:
        yield opened


@pytest.fixture(params=SCREENS)
def page(request: pytest.FixtureRequest, browser: Any, address: httpx.URL) -> Iterator[Any]:
    """The page on a screen; any error that it logs fails the test."""
    page = browser.new_page(viewport=SCREENS[request.param], base_url=str(address))
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(str(address))
    assert page.get_by_text("This page needs JavaScript").count() == 0
    yield page
    if request.node.originalname == "test_a_service_that_is_away_says_so_in_words":
        complaints = [text for text in complaints if "ERR_FAILED" not in text]  # the browser's own word for it
    if place := os.environ.get("RERE_SCREENSHOTS"):
        page.screenshot(path=Path(place) / f"{request.node.name}.png", full_page=True)
    page.close()
    assert complaints == []


def pick(page: Any, query: str, title: str) -> None:
    page.get_by_label("Find an item by its title").fill(query)
    page.locator("#options").get_by_role("option", name=title, exact=True).click()


def fits(page: Any) -> bool:
    """Nothing is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_person_picks_items_and_gets_recommendations(page: Any) -> None:
    pick(page, "star t", "Star Trip 7")
    pick(page, "moon", "Moon Port 0")
    rows = page.locator("#list li")
    rows.nth(9).wait_for()
    assert page.locator("#history .title").all_inner_texts() == ["Star Trip 7", "Moon Port 0"]
    titles = page.locator("#list .title").all_inner_texts()
    assert len(titles) == 10
    assert not {"Star Trip 7", "Moon Port 0"} & set(titles)
    shares = [float(text.strip("< %")) for text in page.locator("#list .score").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    answer = page.request.post("recommend", data={"history": ["i7", "i0"], "seen": "exclude"}).json()
    assert shares[0] == pytest.approx(100 * math.exp(answer["items"][0]["score"]), rel=0.06)  # two digits
    assert "how likely" in page.locator("#status").inner_text()
    assert "model version 3" in page.locator("#version").inner_text()
    assert fits(page)


def test_refusing_an_item_and_asking_for_fewer(page: Any) -> None:
    pick(page, "star t", "Star Trip 7")
    page.locator("#list li").nth(9).wait_for()
    first = page.locator("#list .title").first.inner_text()
    with page.expect_response("**/recommend"):
        page.get_by_role("button", name=f"Not this: {first}", exact=True).click()
    expect(page.locator("#list .title").first).not_to_have_text(first)
    assert first not in page.locator("#list .title").all_inner_texts()
    assert page.locator("#unwanted .title").all_inner_texts() == [first]
    page.get_by_role("button", name=f"Bring back {first}", exact=True).click()
    expect(page.locator("#list .title").first).to_have_text(first)
    expect(page.locator("#refused")).to_be_hidden()
    page.get_by_label("How many").select_option("5")
    expect(page.locator("#list li")).to_have_count(5)
    page.get_by_role("button", name="Remove Star Trip 7").click()
    assert page.locator("#list li").count() == 0
    assert page.locator("#empty").is_visible()


def test_the_keyboard_alone(page: Any) -> None:
    box = page.get_by_label("Find an item by its title")
    box.focus()
    page.keyboard.type("moon port")
    page.locator("#options").get_by_role("option").nth(1).wait_for()
    page.keyboard.press("ArrowDown")
    second = page.locator("#options [aria-selected=true]").inner_text()
    page.keyboard.press("Enter")
    page.locator("#list li").first.wait_for()
    assert page.locator("#history .title").all_inner_texts() == [second]
    assert box.get_attribute("aria-expanded") == "false"


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id")


def test_the_focus_stays_where_the_person_was(page: Any) -> None:
    pick(page, "star t", "Star Trip 7")
    pick(page, "moon", "Moon Port 0")
    titles = page.locator("#list .title")
    expect(titles).to_have_count(10)
    third, fourth = titles.nth(2).inner_text(), titles.nth(3).inner_text()
    page.get_by_role("button", name=f"Not this: {third}", exact=True).press("Enter")
    expect(titles.nth(2)).to_have_text(fourth)
    assert focused(page) == f"Not this: {fourth}"
    page.get_by_role("button", name="Remove Star Trip 7").press("Enter")
    expect(page.locator("#history .title")).to_have_text(["Moon Port 0"])
    assert focused(page) == "Remove Moon Port 0"
    page.keyboard.press("Enter")
    expect(page.locator("#list li")).to_have_count(0)
    assert focused(page) == "query"


def test_an_example_to_begin_with(page: Any) -> None:
    page.get_by_role("button", name="Start with an example").press("Enter")
    expect(page.locator("#history .title")).to_have_text(TITLES[:3])
    expect(page.locator("#list li")).to_have_count(10)
    assert focused(page) == "query"


def welcoming(share: float = 0.0) -> Any:
    """Item 2 is the most popular."""
    prior = Prior(np.array([1, 1, 9, *[1] * 37]), ServedModelConfig())
    if share:
        fit = FitData([np.array([0, 1])], 40, [[0]], np.array([1]))
        prior = replace(prior, item_model=CoOccurrence.fit(fit, CoOccurrenceConfig()), share=share)
    return tiny_deployment(prior=prior)


def test_a_new_user_sees_what_is_popular_and_that_it_is(browser: Any) -> None:
    with running(deployment=welcoming()) as (client, _):
        page = browser.new_page(base_url=str(client.base_url))
        page.set_default_timeout(PATIENCE)
        page.goto("/")
        expect(page.locator("#list .title")).to_have_count(10)
        expect(page.locator("#list .title").first).to_have_text(TITLES[2])
        expect(page.locator("#list .score").first).to_have_text("19 %")  # 9 of 48
        expect(page.locator("#status")).to_contain_text("Nothing is known of this user yet")
        pick(page, "star t", "Star Trip 7")
        expect(page.locator("#status")).to_contain_text("how likely the model thinks")
        page.get_by_role("button", name="Remove Star Trip 7").click()
        expect(page.locator("#status")).to_contain_text("most popular with everybody")
        page.close()


def test_a_model_without_an_answer_for_new_users_says_what_to_do(page: Any) -> None:
    expect(page.locator("#status")).to_have_text("Recommendations appear here once something is liked.")
    assert page.locator("#list li").count() == 0


def test_where_a_token_is_needed_the_page_asks_for_it_before_anything_else(browser: Any) -> None:
    with running(deployment=welcoming(), tokens=Tokens(use="secret")) as (client, _):
        page = browser.new_page(base_url=str(client.base_url))
        page.set_default_timeout(PATIENCE)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto("/")
        expect(page.locator("#status")).to_have_text("Recommendations appear here.")
        page.get_by_label("Access token").fill("secret")
        page.get_by_label("Access token").press("Enter")
        expect(page.locator("#list .title").first).to_have_text(TITLES[2])
        assert complaints == []
        page.close()


def test_scores_that_are_no_probabilities_are_not_shown_as_such(browser: Any) -> None:
    with running(deployment=welcoming(share=0.5)) as (client, _):
        page = browser.new_page(base_url=str(client.base_url))
        page.set_default_timeout(PATIENCE)
        page.goto("/")
        expect(page.locator("#list .score").first).to_have_text("19 %")  # by popularity
        pick(page, "star t", "Star Trip 7")
        expect(page.locator("#status")).to_have_text("Best first.")
        assert set(page.locator("#list .score").all_inner_texts()) == {""}
        page.close()


def test_titles_are_found_without_their_accents_and_no_match_says_so(page: Any) -> None:
    box = page.get_by_label("Find an item by its title")
    box.fill("nothing like it")
    expect(page.locator("#matches")).to_have_text("No title contains “nothing like it”.")
    pick(page, "miserables", "Les Misérables (1995)")
    expect(page.locator("#matches")).to_be_empty()


def test_a_service_that_is_away_says_so_in_words(page: Any) -> None:
    pick(page, "star t", "Star Trip 7")
    page.locator("#list li").nth(9).wait_for()
    page.route("**/*", lambda route: route.abort())
    page.get_by_label("How many").select_option("20")
    expect(page.locator("#status")).to_contain_text("The service does not answer")
    page.unroute("**/*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#list li")).to_have_count(20)
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_without_javascript_there_is_a_word(browser: Any, address: httpx.URL) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(str(address))
    assert page.get_by_text("This page needs JavaScript").is_visible()
    page.close()


CONTRASTS = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => channels(colour).slice(0, 3).map(value => value / 255)
    .map(value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [.2126, .7152, .0722][place], 0);
  const ratio = (one, other) => (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
  const behind = place => {
    for (; place; place = place.parentElement) {
      const paper = channels(getComputedStyle(place).backgroundColor);
      if (paper.length < 4 || paper[3] > 0) return light(getComputedStyle(place).backgroundColor);
    }
  };
  const shown = [...document.querySelectorAll("main *")].filter(each => each.offsetParent);
  return {
    text: Math.min(...shown.filter(each => [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
      .map(each => ratio(light(getComputedStyle(each).color), behind(each)))),
    edges: Math.min(...shown.filter(each => each.matches("input[type=search], select, button"))
      .map(each => ratio(light(getComputedStyle(each).borderTopColor), behind(each.parentElement)))),
  };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_controls_stand_out_from_what_is_behind(browser: Any, address: httpx.URL, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(str(address))
    pick(page, "star t", "Star Trip 7")
    page.locator("#list li").first.wait_for()
    page.get_by_label("Find an item by its title").fill("moon")
    page.locator("#options li").first.wait_for()
    contrasts = page.evaluate(CONTRASTS)
    if place := os.environ.get("RERE_SCREENSHOTS"):
        page.screenshot(path=Path(place) / f"{scheme}.png", full_page=True)
    page.close()
    assert contrasts["text"] >= 4.5  # WCAG 2.2 AA
    assert contrasts["edges"] >= 3


def test_a_hostile_title_is_only_text(page: Any) -> None:
    pick(page, "onerror", HOSTILE)
    page.locator("#list li").first.wait_for()
    assert page.locator("#history .title").inner_text() == HOSTILE
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Recommendations"
    assert fits(page)


def test_the_documentation_works_offline_and_with_a_token(browser: Any) -> None:
    with running(tokens=Tokens(use="secret", admin="admin-secret")) as (client, _):
        context = browser.new_context()
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{client.base_url}/docs")
        page.get_by_label("access token").fill("wrong")
        page.get_by_role("button", name="Show the API").click()
        page.get_by_text("This is not the token.").wait_for()
        page.get_by_label("access token").fill("secret")
        page.get_by_role("button", name="Show the API").click()
        page.locator("#operations-default-items_items_get").get_by_role("button").first.click()
        page.get_by_role("button", name="Try it out").click()
        with page.expect_response("**/items?**") as answer:
            page.get_by_role("button", name="Execute").click()
        assert answer.value.status == 200  # with the token given
        if place := os.environ.get("RERE_SCREENSHOTS"):
            page.screenshot(path=Path(place) / "docs.png")
        context.close()
    assert [text for text in complaints if "401" not in text] == []
    assert all(url.startswith((str(client.base_url), "data:")) for url in asked)
