"""The page in a real browser, on a desktop's and a phone's screen.

`RERE_SCREENSHOTS=DIRECTORY` keeps pictures of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import chromium, needs_chromium
from tests.serving.helpers import TITLES, running, tiny_catalog, tiny_deployment

HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
SCREENS = {"desktop": {"width": 1200, "height": 800}, "phone": {"width": 375, "height": 740}}

pytestmark = needs_chromium
PATIENCE = 120_000  # milliseconds; a busy machine takes its time


@pytest.fixture(scope="module")
def address() -> Iterator[httpx.URL]:
    with running(deployment=tiny_deployment("3", tiny_catalog([*TITLES, HOSTILE]))) as (client, _):
        yield client.base_url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(params=SCREENS)
def page(request: pytest.FixtureRequest, browser: Any, address: httpx.URL) -> Iterator[Any]:
    """The page on a screen; any error that it logs fails the test."""
    page = browser.new_page(viewport=SCREENS[request.param])
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(str(address))
    yield page
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
    scores = [float(text) for text in page.locator("#list .score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
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


def test_a_hostile_title_is_only_text(page: Any) -> None:
    pick(page, "onerror", HOSTILE)
    page.locator("#list li").first.wait_for()
    assert page.locator("#history .title").inner_text() == HOSTILE
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Recommendations"
    assert fits(page)
