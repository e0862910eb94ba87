"""Connecting as a person does it: `listwire up` with nothing but a console, a browser, Mailchimp's login, and a first event.

Everything is real but the two vendors: the Kafka that `up` brings along, and the ingress and worker that it starts when the console
has written the connection. Mailchimp's login stands at another site (localhost) than the console (127.0.0.1), as in life: the browser
brings no strict cookie from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from listwire.settings import load
from sandbox.amplitude.server import AmplitudeStandIn
from sandbox.kafka.ports import pick_port
from sandbox.mailchimp import AUDIENCE, Happening, MailchimpStandIn
from tests.browser.conftest import Person
from tests.browser.driver import chromium, resize
from tests.browser.page_checks import CONTRAST, STRUCTURE
from tests.browser.stage import TOKEN

pytestmark = [
    pytest.mark.browser,
    pytest.mark.kafka,
    pytest.mark.xdist_group("browser connect"),
    pytest.mark.timeout(280),
]
T = TypeVar("T")
KEY = "key-of-amplitude-0123456789abcdef"


class Place:
    """Both vendors' stand-ins, and `listwire up` beside them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.mailchimp = MailchimpStandIn(audiences={AUDIENCE: "Weekly letter", "b7c6eb2165": "Shop"})
        # A webhook that comes while the ingress is started again is repeated after a second, not after a minute.
        self.mailchimp.behaviour.webhook_time_scale = 0.02
        self.amplitude = AmplitudeStandIn(api_keys=[KEY])
        self.ports = {name: pick_port() for name in ("console", "ingress", "worker", "exporter")}
        self.url = f"http://127.0.0.1:{self.ports['console']}"
        self.log = directory / "up.log"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def start(self, stack: contextlib.ExitStack) -> None:
        stack.callback(self._end_loop)
        for vendor in (self.mailchimp, self.amplitude):
            self.run(vendor.start())
            stack.callback(self._stop, vendor)
        # The redirect URI is registered, as at Mailchimp: nothing else is sent back to.
        self.mailchimp.account.oauth_clients["sandbox-client"].redirect_uris = [f"{self.url}/connect/callback"]
        self.file = self.directory / "listwire.toml"
        login = self.mailchimp.url.replace("127.0.0.1", "localhost")
        self.file.write_text(f"""
[topics]
partitions = 2
[ingress]
host = "127.0.0.1"
port = {self.ports["ingress"]}
public_url = "http://127.0.0.1:{self.ports["ingress"]}"
[worker]
host = "127.0.0.1"
port = {self.ports["worker"]}
[exporter]
host = "127.0.0.1"
port = {self.ports["exporter"]}
[console]
port = {self.ports["console"]}
token = "{TOKEN}"
[connect]
client_id = "sandbox-client"
client_secret = "sandbox-secret"
login_url = "{login}"
api_url = "{self.mailchimp.url}"
[amplitude.product]
api_key = "{KEY}"
base_url = "{self.amplitude.url}"
""")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "listwire", "--config", str(self.file), "up"],
                cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        stack.callback(self._end, process)
        self.until(lambda: httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200, process)

    def _stop(self, vendor: MailchimpStandIn | AmplitudeStandIn) -> None:
        self.run(vendor.stop())

    def until(self, condition: Any, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + 90
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if condition():
                    return
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_loop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        found = Place(tmp_path)
        found.start(stack)
        yield found


def connect(driver: webdriver.Chrome, place: Place, *, script: bool) -> None:
    """From the login to the source's page, and a look at each page on the way."""
    person = Person(driver, place)  # type: ignore[arg-type]

    def good() -> None:
        if script:
            assert json.loads(driver.execute_script(STRUCTURE)) == []
            assert json.loads(driver.execute_script(CONTRAST))["faint"] == []
            resize(driver, 360)
            root = "document.documentElement"
            wide, inner = driver.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
            assert wide == inner, driver.current_url
            resize(driver, 1200)

    person.login()
    assert "name no source" in person.text
    driver.find_element(By.LINK_TEXT, "Connect an audience").click()
    person.sees("which Mailchimp account?")
    good()
    person.press("form[action='/connect/login'] button")
    person.sees("wants to use the Mailchimp account")
    assert driver.current_url.startswith("http://localhost:")
    driver.find_element(By.NAME, "password").send_keys("any")
    driver.find_element(By.ID, "allow").click()
    person.sees("Which audience?")
    assert driver.current_url.startswith(f"{place.url}/connect/")
    assert "code=" not in driver.current_url
    person.sees("Weekly letter")
    good()
    driver.find_element(By.CSS_SELECTOR, f"input[value='{AUDIENCE}']").click()
    person.press("main button")
    person.sees("Which Amplitude project?")
    good()
    assert driver.find_element(By.NAME, "name").get_attribute("value") == "weekly-letter"
    person.press("main button")
    goal = f"{place.url}/connections/sources.weekly-letter"
    patiently(place, lambda: driver.current_url == goal)


def patiently(place: Place, condition: Callable[[], bool], *, within: float = 120) -> None:
    """`up` starts four processes anew, one at a time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        with contextlib.suppress(WebDriverException):  # the page changed while it was looked at
            if condition():
                return
        time.sleep(0.3)
    raise AssertionError(place.log.read_text())


@pytest.mark.parametrize("script", [True, False], ids=["with-javascript", "without-javascript"])
def test_connect_allow_choose_next_and_the_first_event_arrives(place: Place, script: bool) -> None:
    with chromium(script=script) as driver:
        person = Person(driver, place)  # type: ignore[arg-type]
        connect(driver, place, script=script)
        person.sees("Waiting for the first event", again=not script)
        (hook,) = place.mailchimp.audience.webhooks.values()
        assert hook.url.startswith(f"http://127.0.0.1:{place.ports['ingress']}/webhooks/mailchimp/weekly-letter/")

        async def subscribe() -> None:
            place.mailchimp.happen(Happening(what="subscribe", email_address="ada@example.com"))
            await place.mailchimp.webhooks_settled()

        place.run(subscribe())

        def connected() -> bool:
            if not script:
                driver.refresh()
            return "Connected" in person.text and "Delivered" in person.text

        patiently(place, connected)
        events = [event for event in place.amplitude.state.events if event["event_type"] == "[Mailchimp] subscribe"]
        assert [event["user_id"] for event in events] == ["ada@example.com"]
        assert not [words for words in person.complaints() if "Content Security Policy" in words]
    said = place.log.read_text()
    settings = load(place.file, {})
    secrets = [*place.mailchimp.account.tokens, "sandbox-secret", KEY, TOKEN, hook.signing_secret]
    secrets += [secret.get_secret_value() for secret in settings.sources["weekly-letter"].secrets]
    for secret in secrets:
        assert secret not in said
    assert "a source was connected" in said
