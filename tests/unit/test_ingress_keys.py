"""The key of a body: equal to what a full parser finds, for every spelling of the field, and impossible to upset."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiokafka.partitioner
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingress import keys
from stream.codecs import cohort_change
from tests import webhook_bodies

SPELLINGS = (
    b"data%5Bid%5D",
    b"data%5bid%5d",
    b"data%5Bid%5d",
    b"data[id]",
    b"data[id%5D",
    b"data%5Bid]",
    b"d%61ta%5Bid%5D",
    b"%64ata[i%64]",
)
OTHERS = (
    b"type",
    b"xdata%5Bid%5D",
    b"data%5Bid%5D%5Bx%5D",
    b"data%5Bmerges%5D%5Bid%5D",
    b"data%5Bweb_id%5D",
    b"data[id]x",
    b"",
)
VALUES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([b"94826aa750", b"", b"a+b", b"a%26b%3D", b"%zz%4", b"=", b"a=b", b"data%5Bid%5D=x", b"\xff"]),
)
FIELDS = st.tuples(
    st.one_of(st.sampled_from(SPELLINGS), st.sampled_from(OTHERS), st.binary(max_size=4)), st.booleans(), VALUES
).map(lambda field: field[0] + b"=" + field[2] if field[1] else field[0])


def as_parsed(body: bytes) -> bytes:
    """What the standard library's form parser says, byte for byte."""
    text = body.decode("latin-1")
    found = [v for n, v in parse_qsl(text, keep_blank_values=True, encoding="latin-1") if n == "data[id]"]
    return found[-1].encode("latin-1") if found else b""


@given(st.lists(FIELDS, max_size=8).map(b"&".join))
@example(b"data%5Bid%5D=a&data%5Bid%5D")
@example(b"&data%5Bid%5D=a&data[id]=b")
@example(b"&data%5Bid%5D=a&data%5Bid%5d=b")
@example(b"x=1&data%5Bid%5D=a&data%5Bid]=b")
@example(b"x=1&data%5bid%5d=a&data%5Bid%5D=b")
@example(b"x=1&data%5Bid%5D=a&x=data%5Bid%5D=b")
@example(b"&data%5Bid%5D=a&xdata%5Bid%5D=b")
@example(b"x&data%5Bid%5D=a&data%5Bid%5D")
def test_the_contact_id_is_the_one_that_a_whole_parser_finds(body: bytes) -> None:
    assert keys.contact_id(body) == as_parsed(body)


@given(st.binary(max_size=200))
def test_no_bytes_can_upset_the_search_for_the_id(body: bytes) -> None:
    assert keys.contact_id(body) == as_parsed(body)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (webhook_bodies.UNSUBSCRIBE, b"newsletter:94826aa750"),
        (webhook_bodies.SUBSCRIBE, b"newsletter:b748506b63"),
        (webhook_bodies.UPEMAIL, b"newsletter"),
        (webhook_bodies.CLEANED, b"newsletter"),
        (b"data[id]=94826aa750", b"newsletter:94826aa750"),
        (b"data%5Bid%5D=", b"newsletter"),
        (b"data%5Bid%5D=a%40b", b"newsletter:a@b"),
        (b"", b"newsletter"),
        (b'{"data[id]": 1}', b"newsletter"),
    ],
)
def test_a_webhooks_key_is_its_source_and_contact(body: bytes, key: bytes) -> None:
    assert keys.webhook_key(b"newsletter", body) == key


def test_an_endless_id_is_cut_and_equal_ids_stay_equal() -> None:
    key = keys.webhook_key(b"n", b"data%5Bid%5D=" + b"x" * 60_000)
    assert len(key) == 2 + keys.LONGEST
    assert key == keys.webhook_key(b"n", urlencode({"type": "a", "data[id]": "x" * 60_000}).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["cohort_id", '"cohort_id":"x"']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.one_of(st.text(max_size=5), st.just("cohort_id")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(["cohort_id", "users", "a"]), JSON)), st.booleans())
@example({"users": [{"cohort_id": "inner"}], "name": '"cohort_id":"text"', "cohort_id": "7khm89cz"}, False)
@example({"users": [{"user_properties": {"cohort_id": "inner"}}]}, False)
@example({"cohort_id": "é😀"}, True)
def test_the_cohort_key_is_the_top_levels_cohort_id_and_nothing_else(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    cohort = value.get("cohort_id") if isinstance(value, dict) else None
    expected = cohort.encode() if isinstance(cohort, str) and cohort else b"daily"
    assert keys.cohort_key(b"daily", body) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"cohort_id=7khm89cz", b'{"cohort_id":"7khm89cz"', b'["cohort_id","x"]', b'{"cohort_id":7}', b"\xff\xfe", b'{"cohort_id":"\xff"}',
     b'{"a":' * 100_000, b"[" * 100_000, b'{"cohort_id":"\\ud800"}', b"null"],
)  # fmt: skip
def test_what_is_no_json_object_with_a_cohort_id_goes_by_the_syncs_name(body: bytes) -> None:
    assert keys.cohort_key(b"daily", body) == b"daily"


@given(st.binary(max_size=300))
def test_no_bytes_can_upset_the_search_for_the_cohort(body: bytes) -> None:
    assert keys.cohort_key(b"daily", body)


@pytest.mark.parametrize("first", [b'"one"', b"1", b"null", b'["two"]', b'"\xf2"'])
def test_of_equal_names_the_last_counts_as_in_the_decoder_whatever_the_first_may_be(first: bytes) -> None:
    body = b'{"cohort_id":' + first + b',"cohort_name":"n","in_cohort":true,"users":[],"cohort_id":"two"}'
    assert isinstance(cohort_change.decode(body), cohort_change.CohortChange)
    assert keys.cohort_key(b"daily", body) == b"two"


@given(st.binary(max_size=80), st.integers(1, 64))
def test_a_key_goes_where_every_kafka_client_puts_it(key: bytes, partitions: int) -> None:
    theirs = aiokafka.partitioner.DefaultPartitioner()(key, list(range(partitions)), [])
    assert keys.partition_of(key, partitions) == theirs


def test_the_hash_is_the_java_clients() -> None:
    # From Kafka's own UtilsTest.
    assert keys.murmur2(b"21") == 0xFFFFFFFF & -973932308
    assert keys.murmur2(b"foobar") == 0xFFFFFFFF & -790332482
    assert keys.murmur2(b"a-little-bit-long-string") == 0xFFFFFFFF & -985981536
