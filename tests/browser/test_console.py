"""The console as a person meets it: a real process over a real Kafka, in headless Chromium."""

from __future__ import annotations

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from listwire import topics
from listwire.logs import address_hash
from listwire.records import Reason
from tests.browser.conftest import Person
from tests.browser.driver import chromium
from tests.browser.stage import INVALID_KEY, TOKEN, Stage
from tests.webhook_bodies import webhook

# One broker, one console and one browser for all: they must not be spread over several processes.
pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.xdist_group("browser"), pytest.mark.timeout(240)]


def test_a_stranger_is_asked_for_the_token(stranger: Person) -> None:
    stranger.open("/dead-letters")
    assert stranger.driver.current_url.endswith("/login")
    assert "Overview" not in stranger.text


def test_a_wrong_token_is_refused_with_words_and_the_right_one_opens(stranger: Person) -> None:
    stranger.login("not-the-token")
    assert "This is not the token." in stranger.text
    stranger.login()
    assert stranger.driver.current_url == f"{stranger.stage.url}/"
    assert "Sources" in stranger.text


def test_logging_out_ends_it(person: Person) -> None:
    person.press(".top form button")
    person.open("/")
    assert person.driver.current_url.endswith("/login")


def test_no_script_can_read_the_cookie(person: Person) -> None:
    assert person.driver.execute_script("return document.cookie") == ""
    (cookie,) = person.driver.get_cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


def test_a_form_on_another_site_cannot_log_anybody_out(person: Person, stage: Stage) -> None:
    """From a page of another origin, with a token even: a browser sends neither the cookie nor our origin."""
    token = person.driver.find_element(By.CSS_SELECTOR, ".top form input").get_attribute("value")
    form = f'<form method="post" action="{stage.url}/logout"><input name="csrf" value="{token}"></form>'
    person.driver.get("data:text/html," + form + "<script>document.forms[0].submit()</script>")
    person.open("/")
    assert "Sources" in person.text


def test_a_form_without_its_token_changes_nothing(person: Person) -> None:
    person.driver.execute_script("document.querySelector('.top form input').value = 'forged'")
    person.press(".top form button")
    assert "This page is too old" in person.text
    person.open("/")
    assert "Sources" in person.text


def test_a_first_event_turns_waiting_into_connected_while_one_looks(person: Person, working: Stage) -> None:
    person.open("/")
    person.sees("Waiting for the first event", "sources.fresh")
    working.webhook("fresh", 1)
    working.settle()
    person.sees("Connected", "sources.fresh")
    assert "1 webhook in the last hour" in person.card("sources.fresh")


def test_what_is_not_settled_is_behind_and_then_connected_again(person: Person, working: Stage) -> None:
    working.settle()
    working.webhook("late", 1, ago=250, partition=1)
    person.open("/")
    person.sees("Behind by 4 min", "sources.late")
    working.settle()
    person.sees("Connected", "sources.late")


def test_a_refused_key_is_told_in_amplitudes_words_until_something_passes(person: Person, working: Stage) -> None:
    place = working.webhook("locked", 1, ago=30)
    working.bury(
        topics.WEBHOOKS, place, webhook(1), "sources.locked", Reason.CONNECTION_REFUSED, INVALID_KEY, ago=20
    )  # fmt: skip
    working.settle()
    person.open("/")
    person.sees("Refused: Amplitude says the API key is invalid", "sources.locked")
    working.webhook("locked", 2)
    working.settle()
    person.sees("Connected", "sources.locked")


def test_with_every_worker_dead_the_page_says_so_and_how_late_it_is(person: Person, stage: Stage) -> None:
    if stage.working:
        stage.settle()
    stage.stop_workers()
    try:
        stage.webhook("orphan", 1, ago=250)
        person.open("/")
        person.sees("Behind by 4 min", "sources.orphan")
        person.sees("No worker is running", "sources.orphan")
        assert "listwire worker subscriptions" in person.text
    finally:
        stage.start_workers()
        stage.settle()


def test_the_replay_button_shows_what_it_would_do_and_then_does_it(person: Person, working: Stage) -> None:
    places = [working.webhook("letters", n, ago=60) for n in range(3)]
    for number, place in enumerate(places):
        working.bury(
            topics.WEBHOOKS, place, webhook(number), "sources.letters", Reason.OVER_QUOTA, "daily quota exceeded", ago=50
        )  # fmt: skip
    working.settle()
    person.open("/dead-letters")
    person.sees("Over quota", again=True)
    person.until(lambda: _letters(person) == "3", "the third letter did not appear")
    before = len(working.values(topics.WEBHOOKS))

    person.press(f"{HEAP} button")
    person.sees("Replay 3 letters?", again=True)
    assert "sources.letters" in person.text
    assert len(working.values(topics.WEBHOOKS)) == before, "nothing has happened yet"

    person.press("button.strong")
    person.sees("3 letters replayed", again=True)
    again = [headers for _, headers in working.values(topics.WEBHOOKS) if "replay_of" in headers]
    assert sorted(headers["replay_of"] for headers in again if headers["source"] == "letters") == sorted(
        f"{topics.WEBHOOKS}/{partition}/{offset}" for partition, offset in places
    )
    person.open("/dead-letters")
    person.until(lambda: _gone(person), "the letters did not go")
    working.settle()


HEAP = "li.card:has(input[value='sources.letters'])"


def _letters(person: Person) -> str:
    person.driver.refresh()
    return str(person.driver.find_element(By.CSS_SELECTOR, f"{HEAP} .big").text)


def _gone(person: Person) -> bool:
    person.driver.refresh()
    return not person.driver.find_elements(By.CSS_SELECTOR, HEAP)


def test_a_letter_hides_addresses_until_somebody_asks(person: Person, working: Stage) -> None:
    body = webhook(40, data_email="grace@example.com")
    place = working.webhook("traced", 40, data_email="grace@example.com")
    letter = working.bury(topics.WEBHOOKS, place, body, "sources.traced", Reason.INVALID_FIELD, "for grace@example.com")
    working.settle()
    person.open(f"/dead-letters/letter/{letter}")
    assert "grace@example.com" not in person.driver.page_source
    assert address_hash("grace@example.com") in person.text
    person.press(".live a")
    assert "data[email] = grace@example.com" in person.text


def test_trace_tells_the_way_of_one_address_and_keeps_it_out_of_the_url(person: Person, working: Stage) -> None:
    working.webhook("traced", 50, data_email="hedy@example.com")
    working.change("Inventors", ["hedy@example.com", "somebody@example.com"])
    working.settle()
    working.settle(topics.COHORTS_GROUP)
    person.open("/trace")
    person.driver.find_element(By.NAME, "address").send_keys("Hedy@Example.com", Keys.ENTER)
    person.sees("2 things found")
    assert "sent to Amplitude as [Mailchimp] subscribe" in person.text
    assert "entered cohort Inventors" in person.text
    assert "Inventors on since" in person.text
    assert "hedy" not in person.driver.current_url.lower()
    assert "hedy" not in working.log.read_text().lower()


def test_an_event_leads_to_the_trace_of_its_person(person: Person, working: Stage) -> None:
    working.webhook("traced", 60, data_email="radia@example.com")
    working.settle()
    person.open("/connections/sources.traced?live=off")
    person.sees(address_hash("radia@example.com"), again=True)
    assert "radia@example.com" not in person.driver.page_source
    person.driver.find_element(By.LINK_TEXT, address_hash("radia@example.com")).click()
    person.press(".search button")
    person.sees("1 thing found")


def test_everything_works_without_a_script(working: Stage) -> None:
    place = working.webhook("letters", 95)
    working.bury(
        topics.WEBHOOKS, place, webhook(95), "sources.letters", Reason.TOO_LARGE, "one event alone", ago=1
    )  # fmt: skip
    working.settle()
    with chromium(script=False) as driver:
        person = Person(driver, working)
        driver.get("data:text/html,<title>off</title><script>document.title = 'on'</script>")
        assert driver.title == "off"
        person.login()
        assert "Sources" in person.text
        person.open("/dead-letters")
        person.sees("Too large", again=True)
        person.press("li.card:has(input[value='too_large']) button")
        person.sees("Replay 1 letter?")
        person.press("button.strong")
        person.sees("1 letter replayed")
        person.open("/trace")
        driver.find_element(By.NAME, "address").send_keys("nobody-at-all@example.com")
        person.press(".search button")
        person.sees("Nothing found")
        person.press(".top form button")
        assert driver.current_url.endswith("/login")
    working.settle()


def test_neither_token_nor_session_reach_the_log(person: Person, stage: Stage) -> None:
    (cookie,) = person.driver.get_cookies()
    said = stage.log.read_text()
    assert "the console listens" in said
    assert TOKEN not in said
    assert cookie["value"] not in said


def test_many_wrong_tokens_close_the_door_for_a_while(stage: Stage) -> None:
    """By its own address, so that nobody else has to wait."""
    transport = httpx.HTTPTransport(local_address="127.0.0.77")
    with httpx.Client(base_url=stage.url, transport=transport) as client:
        form = client.get("/login").text.split('name="csrf" value="')[1].split('"')[0]
        headers = {"origin": stage.url}
        codes = [
            client.post("/login", data={"csrf": form, "token": "wrong"}, headers=headers).status_code for _ in range(7)
        ]
        assert codes[0] == 403
        assert codes[-1] == 429
        assert client.post("/login", data={"csrf": form, "token": TOKEN}, headers=headers).status_code == 429
