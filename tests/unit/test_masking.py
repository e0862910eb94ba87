"""Addresses are hidden in every spelling; the same one always looks the same, and a terminal cannot be driven by a letter."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire.forgetting import names, without
from listwire.logs import address_hash
from listwire.masking import mask, mentions, printable, readable
from tests.unit.letters import letter

JANE = "Jane.Doe+news@example.org"


@pytest.mark.parametrize(
    "text",
    [
        JANE,
        f"Amplitude says {JANE} is bad.",
        f"<{JANE}>, and more",
        quote(JANE, safe=""),
        quote(quote(JANE, safe=""), safe=""),
        urlencode({"type": "subscribe", "data[email]": JANE, "data[id]": "1"}),
        json.dumps({"users": [{"user_id": JANE}]}),
        json.dumps({"user_id": JANE}).replace("@", "\\u0040"),
        f'<a href="mailto:{JANE}">',
        JANE.replace("@", "&#64;"),
        f"'{JANE}'",
    ],
)
def test_an_address_is_hidden_and_shows_as_the_same_hash_as_in_the_logs(text: str) -> None:
    hidden = mask(text)
    assert "jane" not in hidden.lower()
    assert "example" not in hidden.lower()
    assert address_hash(JANE) in hidden


def test_what_is_no_address_stays() -> None:
    text = '{"cohort_name": "VIP @ home", "in_cohort": true, "n": 5} a@ @b %40 100%'
    assert mask(text) == text


LOCAL = st.text("abcdefgXYZ0189._+-'ü", min_size=1, max_size=20)
DOMAIN = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z]{2,5}){1,2}", fullmatch=True)


@given(LOCAL, DOMAIN, st.text(max_size=20), st.text(max_size=20))
def test_no_address_shines_through_in_a_form_or_in_json(local: str, domain: str, before: str, after: str) -> None:
    address = f"{local}@{domain}"
    for text in (
        urlencode({"a": before, "data[email]": address, "b": after}),
        json.dumps({"a": before, "email": address, "b": after}, ensure_ascii=False),
    ):
        hidden = mask(text)
        assert address not in hidden
        assert quote_plus(address) not in hidden


@given(st.text(max_size=200))
def test_masking_takes_any_text(text: str) -> None:
    assert isinstance(mask(text), str)
    assert "\x1b" not in printable(text)


def test_control_characters_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[2J\r\x9b\u202eb") == "a\\x1b[2J\\x0d\\x9b\\x202eb"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}'),
        (b"type=subscribe&data%5Bemail%5D=a%40b.c&x=", "type = subscribe\ndata[email] = a@b.c\nx = "),
        (b"plain", "plain"),
        (b"\xff\xfe", "��"),
        (b"", ""),
    ],
)
def test_values_are_shown_as_what_they_are(value: bytes, shown: str) -> None:
    assert readable(value) == shown


@pytest.mark.parametrize(
    "text",
    [
        "jane@x.org",
        "email=jane%40X.org&b=1",
        "data%5Bemail%5D=jane%2540x.org",
        '{"user_id":"JANE@x.org"}',
        '{"user_id":"jane\\u0040x.org"}',
        "said: jane@x.org.",
        "<jane@x.org>",
    ],
)
def test_an_address_is_found_in_every_spelling(text: str) -> None:
    assert mentions(text, " Jane@X.org ")


@pytest.mark.parametrize(
    "text", ["mary.jane@x.org", "mary-jane@x.org", "jane@x.org.uk", "jane@x.organic", "jane@y.org", ""]
)
def test_a_longer_address_is_another_person(text: str) -> None:
    assert not mentions(text, "jane@x.org")


def test_a_plus_sign_is_part_of_an_address() -> None:
    assert mentions("e=jane%2Btag%40x.org", "jane+tag@x.org")
    assert not mentions("e=jane%2Btag%40x.org", "tag@x.org")
    assert not mentions('{"email":"jane+tag@x.org"}', "tag@x.org")
    assert names(letter(value=b"said=it+is+tag%40x.org"), "tag@x.org")


def test_a_letter_names_a_person_in_value_key_headers_or_detail() -> None:
    for made in (
        letter(value=b"data%5Bemail%5D=jane%40x.org"),
        letter(key=b"jane@x.org"),
        letter(headers=(("who", b"jane@x.org"),)),
        letter(detail="Amplitude: jane@x.org is invalid"),
    ):
        assert names(made, "jane@x.org")
        assert not names(made, "jack@x.org")


def test_a_cohort_change_loses_this_one_person_and_nothing_else() -> None:
    change = {
        "cohort_id": "c",
        "in_cohort": True,
        "users": [{"user_id": "jane@x.org"}, {"user_id": "u2", "user_properties": {"email": "Jack@x.org"}}],
    }
    rest = without(json.dumps(change).encode(), "jane@x.org")
    assert rest is not None
    assert json.loads(rest) == {**change, "users": change["users"][1:]}
    assert without(rest, "jack@x.org") is None
    assert without(b"not json", "jack@x.org") is None
    assert without(b"[]", "jack@x.org") is None


def test_who_only_speaks_of_the_person_stays_and_so_does_every_byte_of_theirs() -> None:
    ann = '{"user_id": "ann", "user_properties": {"email": "Ann@x.org"}}'
    bob = '{"user_id": 18446744073709551617, "user_properties": {"email": "bob@x.org", "n": 1.10, "by": "%s and joann@x.org"}}'
    for written in ("ann@x.org", "ANN\\u0040x.org", "ann%40x.org", "ann%2540x.org"):
        value = f'{{"users" : [{ann}, {bob % written}], "cohort_id":"c" }}'.encode()
        rest = without(value, "ann@x.org")
        assert rest is not None
        assert rest == f'{{"users":[{bob % address_hash("ann@x.org")}],"cohort_id":"c"}}'.encode()
    assert without(f'{{"users": [{ann}]}}'.encode(), "ann@x.org") is None
    other = b'{"users":[{"user_properties":{"mail":"ann@x.org"}},{"user_id":"b"}]}'
    assert without(other, "ann@x.org", {"mail"}) == b'{"users":[{"user_id":"b"}]}'
