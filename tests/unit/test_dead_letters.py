"""A dead letter can be written, read back and named; nothing foreign in the topic is taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire import dead_letters, topics
from listwire.dead_letters import MAX_DETAIL, Letter, cut, identity, make, origin_of, parse_origin, read
from listwire.records import MEANINGS, Reason

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=50)
headers = st.lists(
    st.tuples(st.sampled_from(["source", "sync", "received_at", "request_id", "x"]), st.binary(max_size=9)), max_size=5
)
places = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))


def a_letter(**more: Any) -> Letter:
    given: dict[str, Any] = {
        "topic": topics.WEBHOOKS, "partition": 3, "offset": 42, "key": b"news:1", "value": b"type=subscribe",
        "headers": [("source", b"news")], "reason": Reason.MISSING_FIELD, "detail": "fired_at is missing",
        "connection": "sources.news", "failed_at": 1_700_000_000_000,
    }  # fmt: skip
    return make(**(given | more))


@given(
    topic=st.sampled_from([topics.WEBHOOKS, topics.COHORT_CHANGES]), place=places, key=st.none() | st.binary(max_size=9),
    value=st.binary(max_size=99), given_headers=headers, reason=st.sampled_from(Reason), detail=texts, connection=texts,
    failed_at=st.integers(0, 10**15 - 1),
)  # fmt: skip
def test_what_is_written_is_read_back(
    topic, place, key, value, given_headers, reason, detail, connection, failed_at
) -> None:
    letter = make(
        topic=topic, partition=place[0], offset=place[1], key=key, value=value, headers=given_headers, reason=reason,
        detail=detail, connection=connection, failed_at=failed_at,
    )  # fmt: skip
    again = read(letter.key, letter.value, letter.headers(), (0, 7))
    assert isinstance(again, Letter)
    assert again == Letter(
        key,
        value,
        tuple(given_headers),
        reason.value,
        detail,
        connection,
        f"{topic}/{place[0]}/{place[1]}",
        failed_at,
        (0, 7),
    )
    assert again.id == letter.id
    assert again.position == (topic, *place)
    assert again.topic == topic


def test_the_headers_are_those_of_the_contract() -> None:
    assert a_letter().headers() == [
        ("source", b"news"),
        ("reason", b"missing_field"),
        ("detail", b"fired_at is missing"),
        ("connection", b"sources.news"),
        ("origin", b"listwire.webhooks/3/42"),
        ("failed_at", b"1700000000000"),
    ]


@given(st.text(max_size=3000), st.integers(3, MAX_DETAIL))
def test_a_detail_is_cut_without_half_a_character(text: str, most: int) -> None:
    data = cut(text, most)
    assert len(data) <= most
    whole = text.encode("utf-8", "replace")
    assert data == whole or (len(whole) > most and whole.startswith(data.removesuffix("…".encode())))
    data.decode()


def test_partial_letters_of_one_origin_stay_apart() -> None:
    names = {
        a_letter().id,
        a_letter(value=b"another part").id,
        a_letter(connection="cohort_syncs.news").id,
        a_letter(offset=43).id,
    }
    assert len(names) == 4
    assert a_letter(detail="other words", failed_at=1, reason=Reason.TOO_LARGE).id == a_letter().id


@given(texts, texts, st.binary(max_size=9), texts, texts, st.binary(max_size=9))
def test_an_identity_confuses_no_two_letters(o1: str, c1: str, v1: bytes, o2: str, c2: str, v2: bytes) -> None:
    o1, c1, o2, c2 = (s.replace("\0", "") for s in (o1, c1, o2, c2))
    assert (identity(o1, c1, v1) == identity(o2, c2, v2)) == ((o1, c1, v1) == (o2, c2, v2))
    assert len(identity(o1, c1, v1)) == 32


def test_one_that_fails_again_keeps_its_first_origin() -> None:
    again = a_letter(
        offset=99, headers=[("source", b"news"), ("replay_of", b"listwire.webhooks/3/42"), ("reason", b"stale")]
    )
    assert again.origin == "listwire.webhooks/3/42"
    assert again.id == a_letter().id
    assert again.headers() == a_letter().headers()


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"x",
        b"a/b/c",
        b"t/1/-1",
        b"t/1/2/3",
        "t/1/٣".encode(),
        b"t/1/2\n",
        b"\xff/1/2",
        b"t/1/99999999999999999999",
    ],
)
def test_a_replay_of_that_nobody_of_ours_wrote_is_passed_over(forged: bytes) -> None:
    assert a_letter(headers=[("replay_of", forged)]).origin == "listwire.webhooks/3/42"


def test_a_mark_names_the_letter_that_is_done() -> None:
    assert read(None, None, [("replayed", b"abc")], (0, 1)) == "abc"
    assert read(None, None, [], (0, 1)) is None


@pytest.mark.parametrize(
    "foreign",
    [[], [("reason", b"x")], [("origin", b"t/1/2")], [("reason", b"x"), ("origin", b"not one")], [("reason", b"x"), ("origin", b"t/1/2 ")]],
)  # fmt: skip
def test_a_record_that_is_no_letter_is_passed_over(foreign: list[tuple[str, bytes]]) -> None:
    assert read(b"k", b"v", foreign, (0, 0)) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reason", "origin", "failed_at", "detail", "replayed", "x"]), st.binary(max_size=12)
        ),
        max_size=6,
    ),
    st.none() | st.binary(max_size=5),
)
def test_whatever_stands_in_the_topic_can_be_read(given_headers: list[tuple[str, bytes]], value: bytes | None) -> None:
    found = read(None, value, given_headers, (0, 0))
    if isinstance(found, Letter):
        assert found.position
        assert found.failed_at >= 0


@given(topic=st.text("abc.-_0", min_size=1, max_size=20), place=places)
def test_an_origin_can_be_taken_apart(topic: str, place: tuple[int, int]) -> None:
    assert parse_origin(origin_of(topic, *place)) == (topic, *place)


@pytest.mark.parametrize("text", ["", "t", "t/1", "/1/2", "t/x/2", "t/1/-2", "t/+1/2", "t/1_0/2", "t/ 1/2"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="topic/partition/offset"):
        parse_origin(text)


def test_every_reason_has_a_meaning_and_a_way_out() -> None:
    assert set(MEANINGS) == set(Reason)
    assert all(meaning and way_out for meaning, way_out in MEANINGS.values())


def test_our_headers_are_all_known_as_ours() -> None:
    written = {name for name, _ in a_letter(headers=[]).headers()}
    assert written | {topics.REPLAYED, topics.REPLAY_OF} <= dead_letters.OURS
