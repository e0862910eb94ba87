"""The console on a phone, in the dark, with a keyboard, and for who cannot see it."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from listwire import topics
from listwire.records import Reason
from tests.browser.conftest import Person
from tests.browser.driver import colours, resize
from tests.browser.page_checks import CONTRAST, STRUCTURE
from tests.browser.stage import Stage
from tests.webhook_bodies import webhook

# The same group as the other browser tests: one broker, one console and one browser for all.
pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.xdist_group("browser"), pytest.mark.timeout(240)]

WIDTHS = (320, 360, 390, 768)
PAGES = ("/?live=off", "/connections/sources.letters?live=off", "/dead-letters", "/trace")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_sideways_on_a_phone(person: Person, working: Stage, width: int) -> None:
    place = working.webhook("letters", 90)
    working.bury(
        topics.WEBHOOKS, place, webhook(90), "sources.letters", Reason.UNDECODABLE, "x" * 300, ago=1
    )  # fmt: skip
    working.settle()
    resize(person.driver, width)
    for page in PAGES:
        person.open(page)
        wide, inner = person.driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert (wide, page) == (inner, page)


def test_links_and_buttons_are_large_enough_for_a_thumb(person: Person) -> None:
    resize(person.driver, 360)
    person.open("/dead-letters")
    for each in person.driver.find_elements(By.CSS_SELECTOR, "button, .top nav a"):
        assert each.size["height"] >= 24, each.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_every_text_stands_out_from_its_ground(person: Person, page: str, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1, for large text 3 to 1."""
    colours(person.driver, scheme)
    person.open(page)
    found = json.loads(person.driver.execute_script(CONTRAST))
    assert found["texts"] >= 8
    assert found["faint"] == []


def test_dark_and_light_differ(person: Person) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        colours(person.driver, scheme)
        person.open("/trace")
        grounds.add(person.driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def test_the_first_tab_leads_past_the_menu(person: Person) -> None:
    person.open("/?live=off")
    person.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = person.driver.switch_to.active_element
    assert skip.text == "Skip to the content"
    assert str(skip.get_attribute("href")).endswith("#main")


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_built_for_who_cannot_see_them(person: Person, page: str) -> None:
    person.open(page)
    assert json.loads(person.driver.execute_script(STRUCTURE)) == []


@pytest.mark.parametrize("page", PAGES)
def test_the_browser_has_nothing_to_complain_of(person: Person, page: str) -> None:
    """The policy blocks nothing that we ship, and nothing is missing."""
    person.complaints()
    person.open(page)
    assert person.complaints() == []
