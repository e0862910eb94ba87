"""The demo's console, clicked through: the second audience is connected by Mailchimp's login, and its first event arrives."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from tests.browser.conftest import Person
from tests.browser.driver import chromium

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.xdist_group("browser demo"), pytest.mark.timeout(280)]


class Demo:
    """`listwire demo`, from when its account is told."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "demo.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "listwire", "demo", "--webhooks", "20"],
                cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def until(self, condition: Callable[[], bool], within: float = 120) -> None:
        end = time.monotonic() + within
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(WebDriverException):  # the page changed while it was looked at
                if condition():
                    return
            time.sleep(0.3)
        raise AssertionError(self.log.read_text())

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        return re.search(r"The console is at (\S+),", self.said)[1]  # type: ignore[index]

    @property
    def token(self) -> str:
        return re.search(r"its token is (\S+)", self.said)[1]  # type: ignore[index]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    found = Demo(tmp_path)
    try:
        found.until(lambda: "Ctrl-C ends it" in found.said, 200)
        yield found
        found.process.send_signal(signal.SIGINT)
        assert found.process.wait(60) == 0
    finally:
        found.process.kill()
        found.process.wait()


def test_the_demo_is_clicked_through_from_connect_to_connected(demo: Demo) -> None:
    with chromium() as driver:
        person = Person(driver, demo)  # type: ignore[arg-type]
        demo.until(lambda: person.open("/login") or "token" in driver.page_source)
        person.login(demo.token)
        driver.find_element(By.LINK_TEXT, "Connect an audience").click()
        person.sees("which Mailchimp account?")
        person.press("form[action='/connect/login'] button")
        person.sees("wants to use the Mailchimp account")
        driver.find_element(By.NAME, "password").send_keys("any")
        driver.find_element(By.ID, "allow").click()
        person.sees("Which audience?")
        driver.find_element(By.CSS_SELECTOR, "input[value='b7c6eb2165']").click()
        person.press("main button")
        person.sees("Which Amplitude project?")
        person.press("main button")
        demo.until(lambda: driver.current_url == f"{demo.url}/connections/sources.shop")
        demo.until(lambda: "Connected" in person.text and "Delivered" in person.text)
    assert "Traceback" not in demo.said
