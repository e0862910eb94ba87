"""Amplitude's rules as the stand-in holds them: every limit from both sides, every refusal in the API's own words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.amplitude import rules
from sandbox.amplitude.rules import (
    Refusal,
    Upload,
    batch_limits,
    check_events,
    http_v2_limits,
    problems,
    read_identify,
    read_upload,
)


def event(**changes: Any) -> dict[str, Any]:
    """A good event, with changes; a value of None takes the field away."""
    good = {
        "event_type": "[Mailchimp] subscribe",
        "user_id": "ada@example.com",
        "time": 1_599_514_269_000,
        "insert_id": "a1",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def body(events: Any, **more: Any) -> bytes:
    return orjson.dumps({"api_key": "key", "events": events, **more})


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


def test_a_good_event_has_no_fault() -> None:
    properties = {"interests": ["a", "b"], "merge_fields": {"FNAME": "Ada"}, "n": 1.5, "yes": True, "none": None}
    assert (
        problems(
            event(event_properties=properties, device_id="device-1", session_id=-1, price=1, plan={"branch": "main"})
        )
        == []
    )


@pytest.mark.parametrize("ids", [{"user_id": "ada@example.com"}, {"user_id": None, "device_id": "device-1"}])
def test_one_of_both_ids_is_enough(ids: dict[str, Any]) -> None:
    assert problems(event(**ids)) == []


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"event_type": None}, "missing", "event_type"),
        ({"event_type": ""}, "missing", "event_type"),
        ({"event_type": 7}, "invalid", "event_type"),
        ({"event_type": "x" * 1025}, "invalid", "event_type"),
        ({"event_type": "[Amplitude] Start Session"}, "invalid", "event_type"),
        ({"user_id": None}, "missing", "user_id"),
        ({"user_id": 1234567}, "invalid", "user_id"),
        ({"user_id": "x" * 1025}, "invalid", "user_id"),
        ({"user_id": "abcd"}, "short", "user_id"),
        ({"time": "2020-09-07T21:31:09Z"}, "invalid", "time"),
        ({"time": "1599514269000"}, "invalid", "time"),
        ({"time": 1599514269000.0}, "invalid", "time"),
        ({"time": True}, "invalid", "time"),
        ({"time": -1}, "invalid", "time"),
        ({"time": 2**63}, "invalid", "time"),
        ({"insert_id": 5}, "invalid", "insert_id"),
        ({"insert_id": "x" * 1025}, "invalid", "insert_id"),
        ({"event_properties": []}, "invalid", "event_properties"),
        ({"event_properties": {"a": "x" * 1025}}, "invalid", "event_properties"),
        ({"event_properties": {"a": ["x" * 1025]}}, "invalid", "event_properties"),
        ({"event_properties": nested(41)}, "invalid", "event_properties"),
        ({"user_properties": {"$set": {"a": 1}}}, "invalid", "user_properties"),
        ({"event_type": "$identify", "user_properties": {"$set": {"a": 1}, "plain": 1}}, "invalid", "user_properties"),
        ({"groups": "team"}, "invalid", "groups"),
        ({"session_id": 1.5}, "invalid", "session_id"),
        ({"price": "4.99"}, "invalid", "price"),
        ({"$skip_user_properties_sync": 1}, "invalid", "$skip_user_properties_sync"),
    ],
)
def test_each_fault_is_found_and_named(changes: dict[str, Any], kind: str, field: str) -> None:
    assert problems(event(**changes)) == [(kind, field)]


@pytest.mark.parametrize("banned", sorted(rules.BANNED_IDS))
@pytest.mark.parametrize("field", ["user_id", "device_id"])
def test_banned_ids_are_invalid_in_any_case(banned: str, field: str) -> None:
    assert ("invalid", field) in problems(event(**{field: banned.title()}))


def test_the_limits_themselves_are_still_allowed() -> None:
    assert problems(event(user_id="x" * 1024, event_type="y" * 1024, event_properties=nested(40), time=0)) == []
    assert problems(event(user_id="abcde")) == []
    assert problems(event(event_type="$identify", user_properties={"$set": {"a": 1}, "$unset": {"b": "-"}})) == []
    assert problems(event(what_amplitude_does_not_know={"x": "y" * 5000})) == []


def test_a_short_id_is_refused_by_http_v2_and_removed_by_batch() -> None:
    events = [event(device_id="device-1", user_id="abcd")]
    refusal = check_events(events, min_id_length=5, limits=http_v2_limits())
    assert refusal == Refusal(
        400,
        {
            "code": 400,
            "error": "Invalid id length for user_id or device_id",
            "events_with_invalid_id_lengths": {"user_id": [0]},
        },
    )
    assert check_events(events, min_id_length=5, limits=batch_limits()) is None
    assert "user_id" not in events[0]


def test_an_event_left_without_any_id_is_refused_everywhere() -> None:
    for limits in (http_v2_limits(), batch_limits()):
        refusal = check_events([event(user_id="abc", device_id="d")], min_id_length=5, limits=limits)
        assert refusal is not None
        assert refusal.body["events_with_invalid_id_lengths"] == {"user_id": [0], "device_id": [0]}


def test_min_id_length_moves_the_shortest_id() -> None:
    assert check_events([event(user_id="ab")], min_id_length=2, limits=http_v2_limits()) is None
    assert check_events([event(user_id="abcdefgh")], min_id_length=9, limits=http_v2_limits()) is not None
    upload = read_upload(body([event()], options={"min_id_length": 2}), batch_limits())
    assert isinstance(upload, Upload)
    assert upload.min_id_length == 2
    assert read_upload(body([event()], options={"min_id_length": "2"}), batch_limits()) == rules.INVALID_JSON


def test_http_v2_names_the_first_bad_event_of_a_field_and_batch_all() -> None:
    events = [event(), event(time="x"), event(event_type=None), event(time=1.5), event(event_type=None)]
    first = check_events(events, min_id_length=5, limits=http_v2_limits())
    every = check_events(events, min_id_length=5, limits=batch_limits())
    assert first is not None
    assert every is not None
    assert first.body == {
        "code": 400,
        "error": "Request missing required field",
        "events_with_invalid_fields": {"time": [1]},
        "events_with_missing_fields": {"event_type": [2]},
    }
    assert every.body["events_with_invalid_fields"] == {"time": [1, 3]}
    assert every.body["events_with_missing_fields"] == {"event_type": [2, 4]}


def test_an_event_that_is_no_object_is_refused_without_an_index() -> None:
    assert check_events([event(), "event"], min_id_length=5, limits=batch_limits()) == Refusal(
        400, {"code": 400, "error": "Invalid event JSON"}
    )


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"", {"code": 400, "error": "Missing request body"}),
        (b"{", {"code": 400, "error": "Invalid JSON request body"}),
        (b"[]", {"code": 400, "error": "Invalid JSON request body"}),
        (b'{"api_key":"k","events":[{"time":NaN}]}', {"code": 400, "error": "Invalid JSON request body"}),
        (b'{"events":[{}]}', {"code": 400, "error": "Request missing required field", "missing_field": "api_key"}),
        (b'{"api_key":"k"}', {"code": 400, "error": "Request missing required field", "missing_field": "events"}),
        (
            b'{"api_key":"k","events":[]}',
            {"code": 400, "error": "Request missing required field", "missing_field": "events"},
        ),
        (
            b'{"api_key":"k","events":{}}',
            {"code": 400, "error": "Request missing required field", "missing_field": "events"},
        ),
    ],
)
def test_an_unreadable_request_is_refused_in_amplitudes_words(raw: bytes, answer: dict[str, Any]) -> None:
    refusal = read_upload(raw, batch_limits())
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.body) == (400, answer)


@pytest.mark.parametrize(("limits", "most"), [(http_v2_limits(), 1999), (batch_limits(), 2000)])
def test_one_event_too_many_is_too_large(limits: rules.Limits, most: int) -> None:
    assert isinstance(read_upload(body([event()] * most), limits), Upload)
    assert read_upload(body([event()] * (most + 1)), limits) == Refusal(
        413, {"code": 413, "error": "Payload too large"}
    )


@pytest.mark.parametrize(("limits", "largest"), [(http_v2_limits(), 999_999), (batch_limits(), 20_000_000)])
def test_one_byte_too_many_is_too_large(limits: rules.Limits, largest: int) -> None:
    short = body([event(padding="")])
    filled = body([event(padding="x" * (largest - len(short)))])
    assert len(filled) == largest
    assert isinstance(read_upload(filled, limits), Upload)
    assert read_upload(filled + b" ", limits) == rules.TOO_LARGE


def test_identify_takes_one_object_or_many() -> None:
    one = read_identify("key", '{"user_id":"ada@example.com","user_properties":{"$set":{"a":1}}}')
    many = read_identify("key", '[{"user_id":"ada@example.com"},{"device_id":"device-1"}]')
    assert isinstance(one, Upload)
    assert isinstance(many, Upload)
    assert check_events(one.events, min_id_length=5, limits=http_v2_limits()) is None
    assert len(many.events) == 2


@pytest.mark.parametrize("identification", [None, "", "{", "[]", "7", "[7]"])
def test_identify_says_missing_event_when_the_identification_is_missing_or_unreadable(
    identification: str | None,
) -> None:
    assert read_identify("key", identification) == Refusal(400, text="missing_event")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known_fields = st.sampled_from(
    ["event_type", "user_id", "device_id", "time", "insert_id", "event_properties", "user_properties", "price", "plan"]
)
wild_events = st.dictionaries(known_fields | st.text(max_size=8), json_values, max_size=8)


@given(st.lists(wild_events | json_values, min_size=1, max_size=6), st.booleans())
def test_whatever_json_comes_is_judged_and_named_by_indexes_that_exist(events: list[Any], first_only: bool) -> None:
    limits = batch_limits()
    limits.first_index_only = first_only
    upload = read_upload(body(events), limits)
    assert isinstance(upload, Upload)
    refusal = check_events(upload.events, min_id_length=5, limits=limits)
    if refusal is None:
        return
    assert refusal.status == 400
    maps = [value for name, value in refusal.body.items() if name.startswith("events_with")]
    assert maps or refusal == rules.INVALID_EVENT
    assert all(0 <= index < len(events) for named in maps for indexes in named.values() for index in indexes)


@given(st.lists(wild_events, min_size=1, max_size=8))
def test_dropping_what_is_named_ends_with_events_that_are_accepted(events: list[dict[str, Any]]) -> None:
    """What a client must be able to rely on: drop the named ones, send the rest, and it ends."""
    limits = http_v2_limits()
    left = orjson.loads(orjson.dumps(events))
    for _ in range(len(events) + 1):
        refusal = check_events(left, min_id_length=5, limits=limits)
        if refusal is None:
            break
        named = {
            i
            for name, found in refusal.body.items()
            if name.startswith("events_with")
            for indexes in found.values()
            for i in indexes
        }
        assert named
        left = [kept for index, kept in enumerate(left) if index not in named]
    assert check_events(left, min_id_length=5, limits=limits) is None
    assert [e for e in events if not problems(e)] == left


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(raw: bytes) -> None:
    assert isinstance(read_upload(raw, batch_limits()), Refusal | Upload)
