"""Who may see a page, what a browser may do with it, and that nothing is changed by a form from elsewhere."""

from __future__ import annotations

import re

import httpx
import pytest

from console.guard import CSP
from console.sessions import TRIES
from tests.unit.console_door import ORIGIN, TOKEN, Door

PAGES = ("/", "/connections/sources.newsletter", "/dead-letters", "/trace", "/no/such/page", "/dead-letters/letter/x")
FORMS = ("/logout", "/trace", "/dead-letters/prepare", "/dead-letters/replay")


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.mark.parametrize("path", PAGES)
async def test_a_stranger_sees_the_login_form_and_nothing_else(door: Door, path: str) -> None:
    answer = await door.client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert answer.text == ""


@pytest.mark.parametrize("path", FORMS)
async def test_a_stranger_can_send_no_form(door: Door, path: str) -> None:
    answer = await door.post(path, {"csrf": door.doorkeeper.form_token()})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_a_made_up_session_opens_nothing(door: Door) -> None:
    door.client.cookies.set("listwire_console_8084", "made-up")
    assert (await door.client.get("/")).status_code == 303


async def test_the_token_opens_every_page(door: Door) -> None:
    answer = await door.login()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (await door.client.get("/")).status_code == 200


async def test_the_cookie_is_for_this_site_alone_and_out_of_a_scripts_reach(door: Door) -> None:
    cookie = (await door.login()).headers["set-cookie"].lower()
    assert cookie.startswith("listwire_console_8084=")
    for part in ("httponly", "samesite=strict", "path=/"):
        assert part in cookie
    assert "secure" not in cookie
    assert TOKEN not in cookie


@pytest.mark.parametrize("how", ["public_url", "proxy"])
async def test_behind_https_the_cookie_is_sent_over_tls_only(how: str) -> None:
    door = Door(public_url="https://listwire.example") if how == "public_url" else Door()
    headers = {"x-forwarded-proto": "https"} if how == "proxy" else {"origin": "https://listwire.example"}
    answer = await door.post("/login", {"csrf": await door.csrf("/login"), "token": TOKEN}, **headers)
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_logging_out_closes_the_session_and_not_only_the_cookie(door: Door) -> None:
    await door.login()
    cookie = door.client.cookies["listwire_console_8084"]
    answer = await door.post("/logout", {"csrf": await door.csrf()})
    assert answer.headers["location"] == "/login"
    door.client.cookies.set("listwire_console_8084", cookie)
    assert (await door.client.get("/")).status_code == 303


async def test_a_login_makes_a_new_session_and_ends_the_old_one(door: Door) -> None:
    await door.login()
    old = door.client.cookies["listwire_console_8084"]
    form = door.doorkeeper.form_token()
    await door.post("/login", {"csrf": form, "token": TOKEN})
    assert door.client.cookies["listwire_console_8084"] != old
    assert door.doorkeeper.session(old) is None


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_without_its_csrf_token_changes_nothing(door: Door, path: str) -> None:
    await door.login()
    for token in ({"other": "x"}, {"csrf": ""}, {"csrf": "wrong"}, {"csrf": door.doorkeeper.form_token()}):
        assert (await door.post(path, token)).status_code == 403
    assert (await door.client.get("/")).status_code == 200


async def test_the_csrf_token_of_another_session_is_worth_nothing(door: Door) -> None:
    other = Door()
    other.doorkeeper, other.app = door.doorkeeper, door.app
    other.client = httpx.AsyncClient(transport=httpx.ASGITransport(door.app), base_url=ORIGIN)
    await door.login()
    await other.login()
    assert (await door.post("/logout", {"csrf": await other.csrf()})).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://console.test:81"},
        {"origin": "ftp://console.test"},
        {"origin": "", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_form_from_another_origin_is_refused_even_with_the_token(door: Door, headers: dict[str, str]) -> None:
    await door.login()
    assert (await door.post("/logout", {"csrf": await door.csrf()}, **headers)).status_code == 403


async def test_a_login_form_from_another_origin_is_refused(door: Door) -> None:
    fields = {"csrf": await door.csrf("/login"), "token": TOKEN}
    assert (await door.post("/login", fields, origin="http://evil.example")).status_code == 403


async def test_a_login_needs_a_form_of_ours(door: Door) -> None:
    assert (await door.post("/login", {"token": TOKEN})).status_code == 403


async def test_behind_a_proxy_the_public_origin_counts() -> None:
    door = Door(public_url="https://listwire.example")
    fields = {"csrf": await door.csrf("/login"), "token": TOKEN}
    assert (await door.post("/login", fields, origin="https://listwire.example")).status_code == 303


async def test_a_client_that_is_no_browser_names_no_origin(door: Door) -> None:
    fields = {"csrf": await door.csrf("/login"), "token": TOKEN}
    assert (await door.post("/login", fields, **{"origin": "", "sec-fetch-site": ""})).status_code == 303


async def test_wrong_tokens_are_slowed_down_and_the_right_one_with_them(door: Door) -> None:
    for _ in range(TRIES):
        assert (await door.login("wrong")).status_code == 403
    refused = await door.login()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    door.clock.now += 60
    assert (await door.login()).status_code == 303


async def test_the_printed_address_opens_once(door: Door) -> None:
    word = door.doorkeeper.new_link()
    assert (await door.client.get(f"/login/{word}")).headers["location"] == "/"
    assert (await door.client.get("/")).status_code == 200
    door.client.cookies.clear()
    assert (await door.client.get(f"/login/{word}")).status_code == 403


@pytest.mark.parametrize("path", ["/login", "/", "/no/such/page", "/static/console.css", "/healthz"])
async def test_every_answer_carries_the_policy(door: Door, path: str) -> None:
    for known in (False, True):
        if known:
            await door.login()
        headers = (await door.client.get(path)).headers
        assert headers["content-security-policy"] == CSP
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in CSP.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert "unsafe" not in CSP
    assert not re.search(r"https?:|\*", CSP)


@pytest.mark.parametrize("path", PAGES)
async def test_pages_hold_nothing_that_the_policy_would_block(door: Door, path: str) -> None:
    await door.login()
    html = (await door.client.get(path)).text
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", html)
    for script in re.findall(r"<script[^>]*>", html):
        assert 'src="/static/' in script
    assert not re.search(r'(src|href|action)="(https?:)?//', html)


async def test_pages_are_not_kept_by_browsers_or_proxies(door: Door) -> None:
    await door.login()
    assert (await door.client.get("/")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(door: Door, method: str) -> None:
    await door.login()
    assert (await door.client.request(method, "/")).status_code == 405


async def test_a_form_must_be_one_and_small(door: Door) -> None:
    await door.login()
    headers = {"origin": ORIGIN, "content-type": "application/json"}
    assert (await door.client.post("/trace", content=b"{}", headers=headers)).status_code == 415
    assert (await door.post("/trace", {"csrf": "x" * 20_000})).status_code == 413
    many = {f"field{number}": "" for number in range(200)}
    assert (await door.post("/trace", many)).status_code == 400


async def test_the_health_page_needs_no_login_and_tells_nothing(door: Door) -> None:
    answer = await door.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "alive\n")


async def test_no_page_repeats_a_secret_of_the_settings(door: Door) -> None:
    await door.login()
    for path in PAGES:
        text = (await door.client.get(path)).text
        for secret in (TOKEN, "the-key-of-amplitude", "the-key-of-mailchimp", "secret-in-the-path"):
            assert secret not in text


async def test_a_fault_of_ours_is_an_answer_with_the_policy_and_without_a_traceback(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.login()
    monkeypatch.setattr(door.watch, "picture", None)
    answer = await door.client.get("/")
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"] == CSP
    assert "Traceback" not in answer.text
