"""One stage for all browser tests of a run; its parts are told apart by connection, so tests do not disturb each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.driver import chromium
from tests.browser.stage import TOKEN, Stage

SOURCES = ("fresh", "moving", "late", "orphan", "locked", "letters", "traced")
SYNCS = {"tags": "*"}


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory: Path = tmp_path_factory.mktemp("console")
    with Stage(directory, SOURCES, SYNCS) as built:
        yield built


@pytest.fixture
def working(stage: Stage) -> Stage:
    """The stage, with a member in both workers' groups."""
    if not stage.working:
        stage.start_workers()
    return stage


@pytest.fixture(scope="session")
def _browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


class Person:
    """Somebody at a browser. Looks at the page again and again, as people do, but not for ever."""

    def __init__(self, driver: webdriver.Chrome, stage: Stage) -> None:
        self.driver = driver
        self.stage = stage

    def open(self, path: str) -> None:
        self.driver.get(self.stage.url + path)

    def login(self, token: str = TOKEN) -> None:
        self.open("/login")
        self.driver.find_element(By.NAME, "token").send_keys(token)
        self.press(".login button")

    def press(self, selector: str) -> None:
        """And waits until another page has come."""
        body = self.driver.find_element(By.TAG_NAME, "body")
        self.driver.find_element(By.CSS_SELECTOR, selector).click()
        self.until(lambda: _gone(body), f"no page came after {selector}")

    @property
    def text(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def card(self, connection: str) -> str:
        return str(self.driver.find_element(By.ID, connection).text)

    def complaints(self) -> list[str]:
        """What the browser's console says since it was last asked."""
        log: Any = self.driver
        return [entry["message"] for entry in log.get_log("browser")]

    def sees(self, words: str, connection: str | None = None, *, again: bool = False) -> None:
        """Until the words are there: the page updates itself, or (`again`) is loaded anew."""

        def there() -> bool:
            if again:
                self.driver.refresh()
            return words in (self.text if connection is None else self.card(connection))

        self.until(there, f"{words!r} did not appear")

    def until(self, condition: Callable[[], bool], message: str) -> None:
        def look(_: webdriver.Chrome) -> bool:
            try:
                return condition()
            except WebDriverException:  # the page changed while it was looked at
                return False

        WebDriverWait(self.driver, 40, poll_frequency=0.3).until(look, message)


def _gone(element: webdriver.remote.webelement.WebElement) -> bool:
    """Of a page that is no longer there. While it goes the driver has more than one word for that."""
    try:
        element.is_enabled()
    except WebDriverException:
        return True
    return False


@pytest.fixture
def stranger(_browser: webdriver.Chrome, stage: Stage) -> Person:
    """Without a session."""
    _browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    _browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    _browser.get(f"{stage.url}/healthz")
    _browser.delete_all_cookies()
    return Person(_browser, stage)


@pytest.fixture
def person(stranger: Person) -> Person:
    """Logged in."""
    stranger.login()
    return stranger
