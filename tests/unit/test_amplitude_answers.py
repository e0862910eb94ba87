"""Every answer Amplitude documents, and any other bytes, read into one decision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listwire.errors import VendorError, VendorRefused, VendorUnavailable
from vendors.amplitude import Accepted, Amplitude, Answer, Doubted, Invalid, Rejected, Throttled, TooLarge, read_answer
from vendors.amplitude.answers import MOST_WORDS
from vendors.amplitude.client import base_url

KEY = "0123456789abcdef-secret"


def answer(status: int, **body: Any) -> Answer:
    return read_answer(status, orjson.dumps({"code": status, **body}))


# 200 ------------------------------------------------------------------------------------------------------------------


def test_200_is_done() -> None:
    taken = answer(200, events_ingested=2, payload_size_bytes=50, server_upload_time=1_396_381_378_123)
    assert taken == read_answer(200, b"") == read_answer(200, b"success") == Accepted()


def test_a_web_page_is_no_answer_of_amplitude_whatever_its_status() -> None:
    """A proxy, a login page or a mistaken base_url answers 200 too; taking it for Amplitude would lose every event."""
    with pytest.raises(VendorUnavailable) as raised:
        read_answer(200, b"\n <!doctype html><title>Welcome</title>")
    assert raised.value.may_have_happened


@pytest.mark.parametrize("status", [201, 202, 204])
def test_another_2xx_is_tried_again(status: int) -> None:
    with pytest.raises(VendorUnavailable):
        read_answer(status, b"")


# 400 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("events_with_invalid_fields", "invalid value in"),
        ("events_with_missing_fields", "missing"),
        ("events_with_invalid_id_lengths", "too short an id in"),
        ("events_with_something_new", "events_with_something_new"),
        ("events_with_{0}{braces}", "events_with_{0}{braces}"),
    ],
)
def test_400_names_events_under_each_kind_of_fault(key: str, words: str) -> None:
    found = answer(400, error="Invalid field values on some events", missing_field=None, **{key: {"time": [1, 3]}})
    detail = f"Invalid field values on some events: {words} time"
    assert found == Invalid({1: detail, 3: detail})


def test_400_with_several_faults_of_one_event_says_them_all() -> None:
    found = answer(
        400, error="E", events_with_invalid_fields={"time": [0]}, events_with_missing_fields={"user_id": [0]}
    )
    assert found == Invalid({0: "E: invalid value in time; E: missing user_id"})


def test_400_silenced_names_only_the_silenced_events() -> None:
    found = answer(
        400,
        error="Events silenced for device_id",
        eps_threshold=30,
        silenced_devices=["d"],
        silenced_events=[2],
        throttled_devices={"e": 31},
        throttled_events=[0],
        exceeded_daily_quota_devices={},
    )
    assert found == Invalid({2: "Events silenced for device_id"})


@pytest.mark.parametrize(
    "error",
    [
        "Missing request body", "Invalid JSON request body", "Request missing required field", "Invalid event JSON",
        "Invalid field values on some events", "Invalid id length for user_id or device_id", "",
    ],
)  # fmt: skip
def test_400_that_names_no_event_is_halved(error: str) -> None:
    assert isinstance(answer(400, error=error), Rejected)
    assert isinstance(answer(400, error=error, events_with_invalid_fields={"time": []}), Rejected)


def test_400_says_which_field_of_the_request_is_missing() -> None:
    assert answer(400, error="Request missing required field", missing_field="events") == Rejected(
        "Request missing required field (events)"
    )


@pytest.mark.parametrize(
    "error", ["Invalid API key", f"Invalid API key: {KEY}", "invalid api key: x", "Invalid request path"]
)
def test_400_about_the_key_or_the_path_refuses_the_connection(error: str) -> None:
    with pytest.raises(VendorRefused) as raised:
        answer(400, error=error)
    assert (raised.value.status, raised.value.detail) == (400, error)


@pytest.mark.parametrize("indices", [None, "0", {"0": 1}, [-1, True, 1.5, "2", None]])
def test_400_with_indices_that_are_none_names_no_event(indices: object) -> None:
    assert isinstance(answer(400, error="E", events_with_invalid_fields={"time": indices}), Rejected)


# 429 ------------------------------------------------------------------------------------------------------------------


def throttled(**more: Any) -> Answer:
    body: dict[str, Any] = {
        "error": "Too many requests for some devices and users",
        "eps_threshold": 30,
        "throttled_devices": {},
        "throttled_users": {},
        "throttled_events": [],
        "exceeded_daily_quota_users": {},
        "exceeded_daily_quota_devices": {},
        **more,
    }
    return answer(429, **body)


def test_429_names_users_and_events() -> None:
    found = throttled(throttled_users={"ada": 31}, throttled_events=[0, 2])
    assert found == Throttled(frozenset({"ada"}), frozenset({0, 2}))


def test_429_users_over_their_quota_are_not_merely_throttled() -> None:
    found = throttled(
        throttled_users={"ada": 31, "bob": 31}, throttled_events=[0, 1], exceeded_daily_quota_users={"bob": 500_001}
    )
    assert found == Throttled(frozenset({"ada"}), frozenset({0, 1}), frozenset({"bob"}))


def test_429_about_device_ids_that_amplitude_derived_is_known_by_its_events() -> None:
    assert throttled(throttled_devices={"derived": 31}, throttled_events=[1]) == Throttled(events=frozenset({1}))
    over = throttled(exceeded_daily_quota_devices={"derived": 500_001}, throttled_events=[1])
    assert over == Throttled(over_quota_events=frozenset({1}))
    both = throttled(throttled_devices={"d": 31}, exceeded_daily_quota_devices={"e": 500_001}, throttled_events=[0, 1])
    assert both == Throttled(events=frozenset({0, 1}))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"throttled_users":["ada"],"throttled_events":"all"}'])
def test_429_that_names_nobody_throttles_all(body: bytes) -> None:
    assert read_answer(429, body) == Throttled()


# The rest -------------------------------------------------------------------------------------------------------------


def test_413_is_halved_and_403_is_doubt() -> None:
    assert answer(413, error="Payload too large") == TooLarge()
    assert answer(403, error="Forbidden") == Doubted("Forbidden")
    assert read_answer(403, b"<html>blocked</html>") == Doubted("<html>blocked</html>")


@pytest.mark.parametrize(
    ("status", "may_have_happened"), [(500, True), (502, True), (504, True), (408, True), (503, False), (599, True)]
)
def test_5xx_and_408_are_tried_again(status: int, may_have_happened: bool) -> None:
    with pytest.raises(VendorUnavailable) as raised:
        read_answer(status, b"<html>Bad Gateway</html>")
    assert raised.value.may_have_happened is may_have_happened
    assert raised.value.cause == str(status)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 401, 402, 404, 405, 406, 409, 410, 415, 422, 451])
def test_any_other_3xx_and_4xx_refuses_the_connection(status: int) -> None:
    with pytest.raises(VendorRefused):
        read_answer(status, b"")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([
    "error", "missing_field", "events_with_invalid_fields", "events_with_missing_fields", "silenced_events", "throttled_users",
    "throttled_events", "throttled_devices", "exceeded_daily_quota_users", "exceeded_daily_quota_devices", "{x}",
])  # fmt: skip
STATUSES = st.integers(100, 599) | st.sampled_from([200, 400, 403, 413, 429, 500])


@given(STATUSES, st.binary(max_size=200) | st.dictionaries(NAMES, JSON, max_size=6).map(orjson.dumps))
@example(400, b"[" * 5000)
@example(400, b'{"error":"E","events_with_{":{"}":[0]}}')
def test_no_answer_raises_anything_but_the_error_tree(status: int, body: bytes) -> None:
    found: Answer | VendorError
    try:
        found = read_answer(status, body)
    except VendorError as fault:
        found = fault
    if isinstance(found, VendorError):
        assert len(found.detail) <= MOST_WORDS
    if isinstance(found, Invalid):
        assert found.faults
        assert all(len(words) <= MOST_WORDS for words in found.faults.values())


# The client: what is no answer at all ---------------------------------------------------------------------------------


def client(handler: Any, **more: Any) -> Amplitude:
    return Amplitude(KEY, root="https://amplitude.test", transport=httpx.MockTransport(handler), **more)


@pytest.mark.parametrize(("endpoint", "path"), [("batch", "/batch"), ("httpapi", "/2/httpapi")])
async def test_a_request_is_the_key_and_the_events_as_they_were_serialized(endpoint: Any, path: str) -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"code": 200})

    async with client(take, endpoint=endpoint) as amplitude:
        assert await amplitude.send([b'{"a":1}', b'{"b":2}']) == Accepted()
        assert len(seen[0].content) == amplitude.overhead + len(b'{"a":1},{"b":2}')
    assert (seen[0].method, seen[0].url.path, seen[0].headers["content-type"]) == ("POST", path, "application/json")
    assert orjson.loads(seen[0].content) == {"api_key": KEY, "events": [{"a": 1}, {"b": 2}]}


@pytest.mark.parametrize(
    ("raised", "cause", "may_have_happened"),
    [
        (httpx.ReadTimeout("slow"), "timeout", True),
        (httpx.WriteTimeout("slow"), "timeout", True),
        (httpx.ConnectTimeout("slow"), "connect", False),
        (httpx.ConnectError("refused"), "connect", False),
        (httpx.ReadError("reset"), "reset", True),
        (httpx.WriteError("reset"), "reset", True),
        (httpx.RemoteProtocolError("cut"), "reset", True),
        (httpx.DecodingError("gzip"), "reset", True),
        (httpx.TooManyRedirects("loop"), "reset", True),
    ],
)
async def test_no_answer_may_pass(raised: Exception, cause: str, may_have_happened: bool) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise raised

    async with client(fail) as amplitude:
        with pytest.raises(VendorUnavailable) as found:
            await amplitude.send([b"{}"])
    assert (found.value.cause, found.value.may_have_happened) == (cause, may_have_happened)
    assert KEY not in str(found.value)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500, 503])
@pytest.mark.parametrize("before", [0, 150, 190, 2020, 2040])
@pytest.mark.parametrize("as_json", [True, False])
async def test_no_part_of_the_key_is_left_in_words_that_were_cut(status: int, before: int, as_json: bool) -> None:
    words = "x" * before + KEY + " is none"
    if status == 200:
        words, as_json = f"<html>{words}", False
    answer_ = httpx.Response(status, json={"error": words}) if as_json else httpx.Response(status, text=words)
    async with client(lambda _: answer_) as amplitude:
        try:
            said: Any = await amplitude.send([b"{}"])
        except VendorError as fault:
            said = fault.detail
    assert KEY[:4] not in str(said)


@pytest.mark.parametrize("where", ["headers", "body"])
async def test_the_timeout_covers_the_whole_request(where: str) -> None:
    """An answer that dribbles keeps httpx's own time-outs, which are between two bytes, from ever ending it."""

    async def dribble() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    async def answer_slowly(_: httpx.Request) -> httpx.Response:
        if where == "headers":
            await asyncio.Event().wait()
        return httpx.Response(200, content=dribble())

    async with client(answer_slowly, timeout=0.1) as amplitude:
        with pytest.raises(VendorUnavailable) as found:
            await amplitude.send([b"{}"])
    assert (found.value.cause, found.value.may_have_happened) == ("timeout", True)


async def test_redirects_are_not_followed() -> None:
    """The key would go where the redirect points."""
    async with client(lambda _: httpx.Response(307, headers={"location": "https://elsewhere.test/batch"})) as amplitude:
        with pytest.raises(VendorRefused):
            await amplitude.send([b"{}"])


@pytest.mark.parametrize(
    ("response", "refused"),
    [
        (httpx.Response(400, json={"error": "Request missing required field", "missing_field": "events"}), False),
        (httpx.Response(200, json={"code": 200}), False),
        (httpx.Response(429, json={"error": "Too many"}), False),
        (httpx.Response(400, json={"error": "Invalid API key: x"}), True),
        (httpx.Response(401), True),
        (httpx.Response(403), True),
        (httpx.Response(404), True),
    ],
)
async def test_the_key_is_checked_without_an_event(response: httpx.Response, refused: bool) -> None:
    seen: list[Any] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(orjson.loads(request.content))
        return response

    async with client(take) as amplitude:
        if refused:
            with pytest.raises(VendorRefused):
                await amplitude.check_key()
        else:
            await amplitude.check_key()
    assert seen[0] == {"api_key": KEY, "events": []}
    assert seen[1:] == ([{"api_key": KEY, "events": [{}]}] if "missing_field" in response.text else [])


@pytest.mark.parametrize(
    ("region", "override", "root"),
    [
        ("us", None, "https://api2.amplitude.com"),
        ("eu", None, "https://api.eu.amplitude.com"),
        ("eu", "https://proxy.example/in/front/", "https://proxy.example/in/front"),
    ],
)
def test_hosts_by_region_unless_overridden(region: str, override: str | None, root: str) -> None:
    assert base_url(region, override) == root


async def test_a_key_is_refused_though_missing_events_are_noticed_first() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        if orjson.loads(request.content)["events"] == []:
            return httpx.Response(400, json={"error": "Request missing required field", "missing_field": "events"})
        return httpx.Response(400, json={"error": "Invalid API key: x"})

    async with client(take) as amplitude:
        with pytest.raises(VendorRefused):
            await amplitude.check_key()
