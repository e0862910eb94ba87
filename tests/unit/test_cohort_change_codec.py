"""The codec of cohort changes: it never raises, reads what the schema allows, and gives back what it was given."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listwire.records import Reason, Rejection
from stream.codecs.cohort_change import LONGEST_ADDRESS, CohortChange, User, address_of, decode

GOOD: dict[str, Any] = {"cohort_id": "c1", "cohort_name": "Power users", "in_cohort": True, "users": []}
# Written as people write JSON: keys in any order, white space, escapes, numbers that lose digits when they are parsed.
AS_WRITTEN = b"""
 { "message_id":"9ba::enter::0", "users" : [ {"user_id": "a", "x": 1.10}, null ,
  {"user_properties": {"email": "b@example.com", "n": 12345678901234567890.0, "s": "\\u00e9\\/"}} , 7 ],
  "computed_time": 1692206763.10, "cohort_id":"c1","cohort_name":"Power users" , "in_cohort":false , "n\\u0061me": [ 1 ] } """

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(text, below, max_size=3),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"cohort_id": text, "cohort_name": text, "in_cohort": st.booleans(), "users": st.lists(anything, max_size=5)},
    optional={"message_id": anything, "computed_time": anything, "more": anything},
)


def read(value: bytes) -> CohortChange:
    change = decode(value)
    assert isinstance(change, CohortChange), change
    return change


@given(
    st.binary() | messages.map(lambda message: json.dumps(message).encode()), st.integers(0, 200), st.binary(max_size=3)
)
@example(b'{"\xff":1,"cohort_name":"x","cohort_id":"c","in_cohort":true,"users":[1,2]}', 0, b"")
@example(b'{"cohort_name":"\\ud800","cohort_id":"c","in_cohort":true,"users":[1,2]}', 0, b"")
@example(b'{"cohort_name":"x","cohort_id":"c","in_cohort":true,"users":[{"a":"\xff"},{"user_id":"\xff"}]}', 0, b"")
@example(b'{"cohort_name":"\xff","cohort_id":"c","in_cohort":true,"users":[]}', 0, b"")
@example(b'{"cohort_name":"x","cohort_id":"c","in_cohort":true,"users":[{"user_id":' + b"9" * 5000 + b"}, 1]}", 0, b"")
@example(b'{"cohort_name":"x","cohort_id":"c","in_cohort":true,"users":[1,' + b"[" * 900 + b"]" * 900 + b"]}", 0, b"")
@example(b'{"a":' + b"[" * 100_000, 0, b"")
def test_whatever_the_bytes_are_nothing_raises(value: bytes, at: int, spoilt: bytes) -> None:
    for given_ in (value, value[:at] + spoilt + value[at + 1 :]):
        change = decode(given_)
        if isinstance(change, Rejection):
            assert change.detail
            assert change.reason in {Reason.UNDECODABLE, Reason.MISSING_FIELD, Reason.INVALID_FIELD}
            continue
        assert len(change.users) == len(change)
        for index, user in enumerate(change.users):
            assert user is None or address_of(user, "email") is None or "@" in address_of(user, "email")  # type: ignore[operator]
            change.only([index])
        assert change.only(range(len(change))) == given_


@given(messages, st.data())
def test_a_part_of_a_message_is_the_same_message_with_these_users_only(message: dict[str, Any], data: Any) -> None:
    value = json.dumps(message).encode()
    change = decode(value)
    if isinstance(change, Rejection):
        assert not message["cohort_id"].strip() or not message["cohort_name"].strip()
        return
    chosen = data.draw(st.sets(st.integers(0, len(change) - 1)) if len(change) else st.just(set()))
    part = json.loads(change.only(chosen))
    assert part == {**message, "users": [user for i, user in enumerate(message["users"]) if i in chosen]}
    assert list(part) == list(message)


def test_users_and_unknown_keys_are_kept_byte_for_byte() -> None:
    change = read(AS_WRITTEN)
    raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
    before, after = raw.decode(AS_WRITTEN), raw.decode(change.only([2, 0]))
    assert bytes(after["users"]) == (
        b'[{"user_id": "a", "x": 1.10},{"user_properties": {"email": "b@example.com", '
        b'"n": 12345678901234567890.0, "s": "\\u00e9\\/"}}]'
    )
    assert {key: bytes(value) for key, value in before.items() if key != "users"} == {
        key: bytes(value) for key, value in after.items() if key != "users"
    }
    assert change.only([3, 1, 0, 2, 2]) is AS_WRITTEN, "all of it is the message itself"
    assert json.loads(change.only([]))["users"] == []


def test_a_part_of_a_message_is_never_larger_than_the_message() -> None:
    """So that a dead letter always fits where its record came from."""
    for value in (
        AS_WRITTEN,
        json.dumps({**GOOD, "\u007f\u00e9\u0001": 1, "users": [1, 2]}, ensure_ascii=False).encode(),
    ):
        assert len(read(value).only([0])) <= len(value)


def test_of_equal_keys_the_last_one_counts() -> None:
    change = read(
        b'{"cohort_id":"a","users":[1],"cohort_id":"b","cohort_name":"x","in_cohort":true,"in_cohort":false,"users":[2,3]}'
    )
    assert (change.cohort_id, change.entered, len(change)) == ("b", False, 2)
    assert json.loads(change.only([1]))["users"] == [3]


@pytest.mark.parametrize(
    ("wrong", "reason", "words"),
    [
        ({"in_cohort": 1}, Reason.INVALID_FIELD, "in_cohort"),
        ({"in_cohort": "true"}, Reason.INVALID_FIELD, "in_cohort"),
        ({"in_cohort": None}, Reason.INVALID_FIELD, "in_cohort"),
        ({"users": {}}, Reason.INVALID_FIELD, "users"),
        ({"users": None}, Reason.INVALID_FIELD, "users"),
        ({"cohort_id": 7}, Reason.INVALID_FIELD, "cohort_id"),
        ({"cohort_id": " \t"}, Reason.INVALID_FIELD, "cohort_id is empty"),
        ({"cohort_name": ""}, Reason.INVALID_FIELD, "cohort_name is empty"),
        ({"cohort_name": ["x"]}, Reason.INVALID_FIELD, "cohort_name"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(wrong: dict[str, Any], reason: Reason, words: str) -> None:
    rejection = decode(json.dumps({**GOOD, **wrong}).encode())
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, words in rejection.detail) == (reason, True), rejection


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"null", b"7", b"\xff", b'"x"', b"\xef\xbb\xbf{}", b"{} x"])
def test_what_is_no_json_object_is_undecodable(value: bytes | None) -> None:
    rejection = decode(value)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.UNDECODABLE


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (None, Reason.UNDECODABLE, "the record has no value"),
        (b"[]", Reason.UNDECODABLE, "not a JSON object: Expected "),
        (b"{", Reason.UNDECODABLE, "not JSON: Input data was truncated"),
        (b"{}", Reason.MISSING_FIELD, "cohort_id is missing"),
        (b'{"cohort_id":"c","cohort_name":"n","in_cohort":true}', Reason.MISSING_FIELD, "users is missing"),
        (b'{"cohort_id":7}', Reason.INVALID_FIELD, "cohort_id: Expected "),
        (b'{"cohort_id":"\xff"}', Reason.UNDECODABLE, "not JSON: cohort_id: 'utf-8' codec "),
    ],
)
def test_a_rejection_has_its_reason_and_begins_with_what_is_wrong_and_where(
    value: bytes | None, reason: Reason, words: str
) -> None:
    rejection = decode(value)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is reason
    assert rejection.detail.startswith(words)


def test_a_change_says_which_cohort_it_is_and_which_way_they_went() -> None:
    change = read(AS_WRITTEN)
    assert (change.cohort_id, change.cohort_name, change.entered, len(change)) == ("c1", "Power users", False, 4)


@pytest.mark.parametrize(
    ("given_", "address"),
    [
        ("ann@example.com", "ann@example.com"),
        (" \tAnn@EXAMPLE.com\n", "ann@example.com"),
        ("ÄNN@exämple.com", "änn@exämple.com"),
        ("a@b", "a@b"),
        ("x" * (LONGEST_ADDRESS - 2) + "@b", "x" * (LONGEST_ADDRESS - 2) + "@b"),
        ("x" * (LONGEST_ADDRESS - 1) + "@b", None),
        ("ann", None),
        ("@example.com", None),
        ("ann@", None),
        ("ann@@example.com", None),
        ("ann@example.com, bob@example.com", None),
        ("ann bob@example.com", None),
        ("ann\x00@example.com", None),
        ("ann@example.com\u2028x", None),
        ("Ann <ann@example.com>", None),
        ("", None),
        (7, None),
        (True, None),
        (None, None),
        (["ann@example.com"], None),
        ({"address": "ann@example.com"}, None),
    ],
)
def test_an_address_is_trimmed_lower_cased_and_has_one_at_sign_with_something_on_either_side(
    given_: Any, address: str | None
) -> None:
    assert address_of(User(user_properties={"email": given_}), "email") == address


def test_the_address_stands_in_the_property_that_the_sync_names_or_is_the_user_id() -> None:
    user = User(user_id="Ann@example.com", user_properties={"user_id": "x@example.com", "mail": "m@example.com"})
    assert address_of(user, "user_id") == "ann@example.com"
    assert address_of(user, "mail") == "m@example.com"
    assert address_of(user, "email") is None
    assert address_of(User(user_id=7), "user_id") is None
    assert address_of(User(), "email") is None
