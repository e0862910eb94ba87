"""A webhook's bytes to an Amplitude event: every rule of the contract, and no bytes that make it raise."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listwire.records import Reason, Rejection
from stream.codecs import form
from stream.codecs.mailchimp_webhook import (
    BANNED_IDS,
    MOST_MOMENTS,
    Event,
    Filtered,
    Webhooks,
    insert_id,
    interests,
    usable,
)
from tests import webhook_bodies as bodies
from tests.webhook_bodies import AUDIENCE, webhook

READ = Webhooks("newsletter", AUDIENCE).reader()


def reader(**changes: Any) -> Any:
    return Webhooks("newsletter", AUDIENCE, **changes).reader()


def event(body: bytes, read: Any = READ) -> dict[str, Any]:
    found = read(body)
    assert isinstance(found, Event), found
    return orjson.loads(found.body)  # type: ignore[no-any-return]


def properties(body: bytes, read: Any = READ) -> dict[str, Any]:
    return event(body, read)["event_properties"]  # type: ignore[no-any-return]


def reason(body: bytes | None, read: Any = READ) -> Reason:
    found = read(body)
    assert isinstance(found, Rejection), found
    return found.reason


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


# Captured bodies ------------------------------------------------------------------------------------------------------


def test_the_captured_unsubscribe_becomes_the_event_of_the_contract() -> None:
    assert event(bodies.UNSUBSCRIBE) == {
        "event_type": "[Mailchimp] unsubscribe",
        "user_id": "josh+news@example.com",
        "time": ms("2014-10-22T13:10:40+00:00"),
        "insert_id": insert_id(AUDIENCE, "unsubscribe", "94826aa750", "2014-10-22 13:10:40"),
        "event_properties": {
            "audience_id": AUDIENCE,
            "source": "newsletter",
            "contact_id": "94826aa750",
            "fired_at": "2014-10-22 13:10:40",
            "web_id": "203740265",
            "email_type": "html",
            "action": "unsub",
            "reason": "manual",
        },
    }


def test_the_captured_subscribe_has_a_lower_cased_user_its_interests_and_no_merge_field_unless_allowed() -> None:
    found = event(bodies.SUBSCRIBE)
    assert found["event_type"] == "[Mailchimp] subscribe"
    assert found["user_id"] == "ada.lovelace@example.com"
    assert found["event_properties"] == {
        "audience_id": AUDIENCE,
        "source": "newsletter",
        "contact_id": "b748506b63",
        "fired_at": "2020-09-07 21:31:09",
        "web_id": "404947702",
        "email_type": "html",
        "interests": ["Group1", "Group2"],
    }
    assert "device_id" not in found


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (bodies.PROFILE, "profile"),
        (bodies.UPEMAIL, "upemail"),
        (bodies.CLEANED, "cleaned"),
        (bodies.CAMPAIGN, "campaign"),
        (webhook(kind="something-new"), "other"),
        (webhook(kind="Subscribe"), "other"),
    ],
)
def test_every_other_type_is_filtered_under_a_name_that_cannot_grow_without_bound(body: bytes, why: str) -> None:
    assert reader()(body) == READ(body) == Filtered(why)


@pytest.mark.parametrize(
    "again", ["type=subscribe", "%74ype=subscribe", "t%79pe=+subscribe", "type=unsubscribe&type=subscribe"]
)
def test_a_type_that_is_dropped_is_read_to_the_end_where_another_type_follows(again: str) -> None:
    body = bodies.SUBSCRIBE.replace(b"type=subscribe", b"type=profile", 1)
    assert READ(body) == Filtered("profile")
    assert isinstance(READ(body + b"&" + again.encode()), Event)


def test_a_type_of_its_own_is_no_prefix_of_another() -> None:
    assert READ(b"type=profile") == Filtered("profile")
    assert READ(b"type=profiles&a=b") == Filtered("other")
    assert isinstance(READ(b"type=profile&type"), Rejection)


def test_an_event_carries_what_keeps_its_order_and_its_user() -> None:
    found = READ(webhook(7))
    assert isinstance(found, Event)
    assert (found.contact, found.user_id, found.settled) == (b"0000000007", "contact7@example.com", False)


# Order of the checks --------------------------------------------------------------------------------------------------


def test_the_reason_is_that_of_the_first_check_that_fails() -> None:
    """Type, filter, list_id, audience, fired_at, address, user id: each mended in turn shows the next."""
    fields: dict[str, Any] = {"kind": "", "data_list_id": None, "fired_at": "", "data_email": None}
    assert reason(webhook(**fields)) is Reason.MISSING_FIELD
    assert "type" in READ(webhook(**fields)).detail  # type: ignore[union-attr]
    fields["kind"] = "profile"
    assert isinstance(READ(webhook(**fields)), Filtered)
    fields["kind"] = "subscribe"
    assert "list_id" in READ(webhook(**fields)).detail  # type: ignore[union-attr]
    fields["data_list_id"] = "another"
    assert reason(webhook(**fields)) is Reason.WRONG_AUDIENCE
    fields["data_list_id"] = AUDIENCE
    assert "fired_at" in READ(webhook(**fields)).detail  # type: ignore[union-attr]
    fields["fired_at"] = "yesterday"
    assert reason(webhook(**fields)) is Reason.INVALID_FIELD
    fields["fired_at"] = "2026-10-22 13:10:40"
    assert reason(webhook(**fields)) is Reason.MISSING_FIELD
    fields["data_email"] = "nobody"
    assert reason(webhook(**fields)) is Reason.INVALID_FIELD
    fields["data_email"] = "a@b"
    assert "user id" in READ(webhook(**fields)).detail  # type: ignore[union-attr]
    fields["data_email"] = "ada@example.com"
    assert isinstance(READ(webhook(**fields)), Event)


@pytest.mark.parametrize(
    ("body", "why", "detail"),
    [
        (b"hello", Reason.UNDECODABLE, "the body is no form: it has no key=value"),
        (webhook() + b"&data[reason]=%ff", Reason.UNDECODABLE, "a field is not UTF-8 text"),
        (webhook(kind=""), Reason.MISSING_FIELD, "type is missing"),
        (webhook().replace(b"type=subscribe&", b""), Reason.MISSING_FIELD, "type is missing"),
        (webhook(data_list_id=None), Reason.MISSING_FIELD, "data[list_id] is missing"),
        (
            webhook(data_list_id="x" * 300),
            Reason.WRONG_AUDIENCE,
            f"data[list_id] is {'x' * 100!r}; the source's audience is {AUDIENCE!r}",
        ),
        (webhook(fired_at=""), Reason.MISSING_FIELD, "fired_at is missing"),
        (webhook().replace(b"fired_at=", b"fired="), Reason.MISSING_FIELD, "fired_at is missing"),
        (
            webhook(fired_at="y" * 300),
            Reason.INVALID_FIELD,
            f"fired_at is {'y' * 100!r}, not like 2020-09-07 21:31:09",
        ),
        (webhook(data_email=""), Reason.MISSING_FIELD, "data[email] is missing"),
        (webhook(data_email=None), Reason.MISSING_FIELD, "data[email] is missing"),
        (webhook(data_email="nobody"), Reason.INVALID_FIELD, "data[email] has no @"),
        (webhook(data_email="a@b"), Reason.INVALID_FIELD, "no user id that Amplitude takes from merge:ID, email"),
    ],
)
def test_a_rejection_says_what_is_wrong_and_quotes_no_more_than_a_hundred_characters(
    body: bytes, why: Reason, detail: str
) -> None:
    assert reader(policies=("merge:ID", "email"))(body) == Rejection(why, detail)


@pytest.mark.parametrize("body", [None, b"", b"hello", b'{"type":"subscribe"}', b"\xff\xfe\x00"])
def test_what_is_no_form_is_undecodable(body: bytes | None) -> None:
    assert reason(body) is Reason.UNDECODABLE


@pytest.mark.parametrize("field", ["type", "fired_at", "data[list_id]", "data[email]", "data[id]", "data[reason]"])
def test_a_value_that_is_not_utf8_is_undecodable(field: str) -> None:
    assert reason(webhook() + b"&" + quote_plus(field).encode() + b"=%ff%fe") is Reason.UNDECODABLE


def test_a_byte_that_is_no_utf8_spoils_the_value_it_stands_in_and_no_other_field() -> None:
    assert reason(webhook() + b"&data[reason]=a%2Cb\xff") is Reason.UNDECODABLE
    assert isinstance(READ(webhook() + b"&x\xff=1&%ff=2&\xff%2C=3"), Event)


@pytest.mark.parametrize("raw", ["geprüft", "von+Hand+geprüft"])
def test_utf8_may_stand_in_a_value_as_it_is(raw: str) -> None:
    assert properties(webhook() + f"&data[reason]={raw}".encode())["reason"] == raw.replace("+", " ")
    assert reason(webhook() + f"&data[reason]={raw}".encode("latin-1")) is Reason.UNDECODABLE


@pytest.mark.parametrize("field", ["type", "list_id"])
def test_type_and_list_id_must_be_there(field: str) -> None:
    body = webhook(kind="" if field == "type" else "subscribe", data_list_id=None if field == "list_id" else AUDIENCE)
    assert reason(body) is Reason.MISSING_FIELD


def test_the_last_of_duplicate_keys_wins_however_the_key_is_spelled() -> None:
    body = webhook(1) + b"&data[email]=second@example.com&d%61ta%5Bemail%5d=third%40example.com"
    assert event(body)["user_id"] == "third@example.com"
    assert reason(webhook(1) + b"&type=") is Reason.MISSING_FIELD
    assert isinstance(READ(webhook(1) + b"&type=profile"), Filtered)


# fired_at -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2020-09-07T21:31:09",
        "2020-09-07 21:31",
        "2020-09-07 21:31:09Z",
        "2020-09-07 21:31:09+02:00",
        "2020-W37-1 21:31:09",
        "2020-09-07 21:31+01",
        "2020-09-07 21+01:00",
        "2020-09-07 213109.5",
        "2020-13-07 21:31:09",
        "2020-09-07 24:00:01",
        "2020-02-30 00:00:00",
        "\u0662\u0660\u0662\u0660-09-07 21:31:09",
        "1969-12-30 23:59:59",
        "0001-01-01 00:00:00",
        "1600000000",
        "0",
    ],
)
def test_a_time_in_any_other_shape_is_an_invalid_field(text: str) -> None:
    for zone in ("UTC", "Europe/Berlin", "America/Los_Angeles"):
        assert reason(webhook(fired_at=text), reader(timezone=zone)) is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    ("zone", "text", "utc"),
    [
        ("UTC", "2026-07-01 12:00:00", "2026-07-01T12:00:00+00:00"),
        ("Europe/Berlin", "2026-01-15 12:00:00", "2026-01-15T11:00:00+00:00"),
        ("Europe/Berlin", "2026-07-15 12:00:00", "2026-07-15T10:00:00+00:00"),
        # The hour that comes twice: the first one. The hour that does not exist: as if the clock had not been set forward.
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00+00:00"),
        ("Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29T01:30:00+00:00"),
        ("America/New_York", "2026-07-15 20:00:00", "2026-07-16T00:00:00+00:00"),
        ("Asia/Kolkata", "2026-07-15 05:30:00", "2026-07-15T00:00:00+00:00"),
        ("UTC", "1970-01-01 00:00:00", "1970-01-01T00:00:00+00:00"),
        ("UTC", " 2026-07-01 12:00:00 ", "2026-07-01T12:00:00+00:00"),
    ],
)
def test_fired_at_is_read_in_the_zone_of_the_source(zone: str, text: str, utc: str) -> None:
    assert event(webhook(fired_at=text), reader(timezone=zone))["time"] == ms(utc)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - Mailchimp sends no zone
def test_every_time_is_the_right_millisecond(when: datetime) -> None:
    when = when.replace(microsecond=0)
    found = event(webhook(fired_at=when.strftime("%Y-%m-%d %H:%M:%S")))
    assert found["time"] == int(when.replace(tzinfo=UTC).timestamp()) * 1000


# Address, contact and user id -----------------------------------------------------------------------------------------


def test_the_address_may_stand_in_the_merge_fields_alone() -> None:
    for absent in (None, "", "  "):
        body = webhook(data_email=absent, merges_EMAIL=" Ada@Example.com ")
        assert event(body)["user_id"] == "ada@example.com"


def test_no_address_anywhere_is_a_missing_field() -> None:
    assert reason(webhook(data_email=None)) is Reason.MISSING_FIELD
    assert reason(webhook(data_email="  ", merges_EMAIL="")) is Reason.MISSING_FIELD


@pytest.mark.parametrize("absent", [None, "", "  "])
def test_without_a_contact_id_the_address_stands_in(absent: str | None) -> None:
    body = webhook(data_id=absent, data_email="Ada@Example.com")
    found = READ(body)
    assert isinstance(found, Event)
    assert found.contact == b"ada@example.com"
    assert event(body)["insert_id"] == insert_id(AUDIENCE, "subscribe", "ada@example.com", "2026-10-22 13:10:40")


def test_user_ids_by_policy() -> None:
    body = webhook(data_email=" Ada@Example.com ", merges_AMP_ID=" Ada-0017 ")
    address = b"ada@example.com"
    assert event(body, reader(policies=("email",)))["user_id"] == "ada@example.com"
    assert event(body, reader(policies=("email_sha256",)))["user_id"] == hashlib.sha256(address).hexdigest()
    assert event(body, reader(policies=("email_md5",)))["user_id"] == hashlib.md5(address).hexdigest()
    assert event(body, reader(policies=("merge:AMP_ID",)))["user_id"] == "Ada-0017"


@pytest.mark.parametrize("unusable", [*sorted(BANNED_IDS), "Anonymous", "N/A", "NULL", "1234", "x" * 1025, "  nil  "])
def test_an_id_that_amplitude_refuses_does_not_yield_and_the_next_policy_does(unusable: str) -> None:
    body = webhook(merges_AMP_ID=unusable)
    assert event(body, reader(policies=("merge:AMP_ID", "email")))["user_id"] == "contact0@example.com"
    assert reason(body, reader(policies=("merge:AMP_ID",))) is Reason.INVALID_FIELD


def test_the_first_usable_policy_wins() -> None:
    read = reader(policies=("merge:ONE", "merge:TWO", "email"))
    assert event(webhook(merges_ONE="first-id", merges_TWO="second-id"), read)["user_id"] == "first-id"
    assert event(webhook(merges_TWO="second-id"), read)["user_id"] == "second-id"
    assert event(webhook(), read)["user_id"] == "contact0@example.com"


def test_an_address_too_short_for_amplitude_is_invalid_unless_hashed() -> None:
    assert reason(webhook(data_email="a@b")) is Reason.INVALID_FIELD
    assert len(event(webhook(data_email="a@b"), reader(policies=("email", "email_md5")))["user_id"]) == 32
    assert event(webhook(data_email="a@b.c"))["user_id"] == "a@b.c"


def test_ids_of_5_to_1024_characters_are_usable() -> None:
    assert [usable("x" * size) for size in (4, 5, 1024, 1025)] == [False, True, True, False]


@given(st.text(max_size=30))
def test_no_user_id_that_amplitude_bans_ever_passes(value: str) -> None:
    if usable(value):
        assert len(value) >= 5
        assert value.lower() not in BANNED_IDS


# insert_id ------------------------------------------------------------------------------------------------------------


def test_a_retried_webhook_has_the_same_insert_id_and_another_one_has_not() -> None:
    one = event(webhook(1))["insert_id"]
    assert one == event(webhook(1, data_reason="changed by the retry"))["insert_id"]
    others = {
        event(webhook(2))["insert_id"],
        event(webhook(1, kind="unsubscribe"))["insert_id"],
        event(webhook(1, fired_at="2026-10-22 13:10:41"))["insert_id"],
    }
    assert len(others | {one}) == 4
    assert len(one) == 64


def test_an_insert_id_is_the_same_in_every_version() -> None:
    """A webhook that is delivered again after an upgrade would count twice."""
    assert (
        insert_id(AUDIENCE, "subscribe", "b748506b63", "2020-09-07 21:31:09")
        == "c6f40c50bbb015696d57e235c21ec8285d085a42fbca2f570d9e2bf76eca7630"
    )
    assert (
        insert_id(AUDIENCE, "unsubscribe", "änn@example.com", "2014-10-22 13:10:40")
        == "11db495014db2b2d807f0cae9e8db56fa973545cef3e069c1c595f79e4520946"
    )
    assert len(insert_id("\ud800", "", "", "")) == 64, "nor does any text make it raise"


PARTS = st.tuples(*[st.text(max_size=12)] * 4)


@given(PARTS, PARTS)
@example(("ab", "c", "", ""), ("a", "bc", "", ""))
@example(("1:a", "", "", ""), ("", "1:a", "", ""))
def test_no_two_different_webhooks_share_an_insert_id(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assert (insert_id(*one) == insert_id(*two)) == (one == two)


# Properties -----------------------------------------------------------------------------------------------------------


def test_absent_and_empty_fields_are_left_out() -> None:
    found = properties(webhook(data_action="", data_campaign_id=None, merges_INTERESTS=""))
    assert found.keys() == {"audience_id", "source", "contact_id", "fired_at", "email_type", "web_id"}


def test_every_property_of_the_contract() -> None:
    found = properties(webhook(3, data_action="delete", data_reason="abuse", data_campaign_id="cb398d21d2"))
    assert found == {
        "audience_id": AUDIENCE,
        "source": "newsletter",
        "contact_id": "0000000003",
        "fired_at": "2026-10-22 13:10:40",
        "web_id": "3",
        "email_type": "html",
        "action": "delete",
        "reason": "abuse",
        "campaign_id": "cb398d21d2",
    }


def test_strings_are_cut_at_1024_characters_not_bytes() -> None:
    long = "é" * 2000
    city: dict[str, Any] = {"data[merges][ADDRESS][city]": long}
    body = webhook(data_reason=long, data_id=long, merges_INTERESTS=f"{long},b", merges_NOTE=long, **city)
    found = properties(body, reader(merge_properties=("NOTE", "ADDRESS")))
    cut = long[:1024]
    assert found["reason"] == found["contact_id"] == found["interests"][0] == cut
    assert found["merge_fields"] == {"NOTE": cut, "ADDRESS": {"city": cut}}


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ("Group1,Group2", ["Group1", "Group2"]),
        ("Group1, Group2", ["Group1", "Group2"]),
        ("Bread\\, butter,Tea", ["Bread, butter", "Tea"]),
        (" , ,", []),
        ("one", ["one"]),
        ("a\0b,c", ["a\0b", "c"]),
        ("a\\,b, ,c\\,d,", ["a,b", "c,d"]),
        ("é\\," + "x" * 2000, ["é," + "x" * 1022]),
    ],
)
def test_interests_with_and_without_a_space_and_with_escaped_commas(raw: str, names: list[str]) -> None:
    assert interests(raw) == names


def test_only_allowed_merge_fields_are_copied_and_a_nested_one_becomes_an_object() -> None:
    read = reader(merge_properties=("FNAME", "LNAME", "ADDRESS", "BIRTHDAY", "ABSENT"))
    assert properties(bodies.SUBSCRIBE, read)["merge_fields"] == {
        "FNAME": "Ada",
        "ADDRESS": {"addr1": "12 St James's Square", "city": "London", "zip": "SW1Y", "country": "GB"},
        "BIRTHDAY": "12/10",
    }
    # An address that was never filled in is one empty string.
    assert "merge_fields" not in properties(webhook(merges_ADDRESS=""), read)


def test_a_part_whose_bracket_stays_open_is_no_part() -> None:
    read = reader(merge_properties=("ADDRESS",))
    city: dict[str, Any] = {"data[merges][ADDRESS][city]": "London", "data[merges][ADDRESS][zip": "SW1Y"}
    assert properties(webhook(**city), read)["merge_fields"] == {"ADDRESS": {"city": "London"}}
    assert "merge_fields" not in properties(webhook(**{"data[merges][ADDRESS][zip": "SW1Y"}), read)  # type: ignore[arg-type]


def test_one_allowed_field_is_never_taken_for_another_that_begins_alike() -> None:
    read = reader(merge_properties=("AD",))
    assert "merge_fields" not in properties(bodies.SUBSCRIBE, read)


# Bytes of any kind ----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
@example(b"type=subscribe&data%5Blist_id%5D=%")
@example(b"=&=&&&===")
@example(b"%=%&%zz=%zz")
@example(b"\xff=1")
@example(webhook() + b"&data[reason]=%2C\xff")
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert isinstance(READ(body), Event | Filtered | Rejection)


FIELDS = [
    "type",
    "fired_at",
    "data[id]",
    "data[email]",
    "data[list_id]",
    "data[merges][INTERESTS]",
    "data[merges][FNAME]",
]


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.text(max_size=20) | st.sampled_from([AUDIENCE, "subscribe", "2020-09-07 21:31:09", "ada@example.com"])), max_size=12))  # fmt: skip
def test_no_form_makes_it_raise_and_every_event_is_one_that_amplitude_takes(pairs: list[tuple[str, str]]) -> None:
    found = reader(policies=("merge:FNAME", "email"), merge_properties=("FNAME",))(urlencode(pairs).encode())
    if isinstance(found, Event):
        sent = orjson.loads(found.body)
        assert sent["user_id"] == found.user_id
        assert usable(found.user_id)
        assert found.contact
        assert sent["time"] >= 0
    else:
        assert isinstance(found, Filtered | Rejection)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=20))
def test_it_reads_a_form_as_the_standard_library_does(pairs: list[tuple[str, str]]) -> None:
    body = urlencode(pairs).encode()
    found = form.split(body)
    assert {name: form.text(value) for name, value in found.items()} == dict(
        parse_qsl(body.decode(), keep_blank_values=True)
    )


@given(st.text(alphabet="%=&+@:40325AaBb[]\xe9 ", max_size=60))
def test_it_reads_odd_escapes_as_the_standard_library_does(raw: str) -> None:
    found = form.split(raw.encode())
    for name, value in dict(parse_qsl(raw, keep_blank_values=True)).items():
        if not name:
            continue  # the library passes over an empty pair, which we read as one without a name; no field has none
        with contextlib.suppress(form.BadText):
            assert form.text(found[name]) == value


def test_ten_thousand_fields_are_read_and_the_last_word_counts() -> None:
    many = b"&".join(b"data%%5Bx%d%%5D=%d" % (i, i) for i in range(10_000))
    assert event(many + b"&" + webhook(5))["user_id"] == "contact5@example.com"


def test_the_keys_that_bodies_choose_cannot_fill_the_memory() -> None:
    for batch in range(5):
        form.split(b"&".join(b"key%d-%d=1" % (batch, i) for i in range(form.MOST_KEYS)))
        assert len(form._keys) <= form.MOST_KEYS
    form.split(b"x" * 100_000 + b"=1")
    assert max(map(len, form._keys)) <= 200


def test_what_is_kept_to_be_quick_starts_anew_when_it_is_full_and_holds_nothing_long() -> None:
    for cache, most, read in (
        (form._keys, form.MOST_KEYS, lambda word: form.split(word.encode())),
        (form._values, form.MOST_VALUES, form.text),
    ):
        cache.clear()
        for number in range(most):
            read(f"%41{number}")
        assert len(cache) == most
        read("%42")
        assert list(cache) == ["%42"]
        read("%43".ljust(200, "x"))
        read("%44".ljust(201, "x"))
        assert [spelling[:3] for spelling in cache] == ["%42", "%43"]
        assert set(cache.values()) == {"B", "C".ljust(198, "x")}


def test_the_times_that_bodies_choose_cannot_fill_the_memory() -> None:
    read = reader()
    for number in range(MOST_MOMENTS):
        read._moment(str(number))
    assert len(read._moments) == MOST_MOMENTS
    assert read._moment("2026-10-22+13%3A10%3A40") == ("2026-10-22 13:10:40", ms("2026-10-22T13:10:40+00:00"))
    read._moment("5".ljust(64))
    read._moment("6".ljust(65))
    assert [raw[0] for raw in read._moments] == ["2", "5"]
    assert event(webhook(), read) == event(webhook(), read)
    assert None not in read._moments.values()
