"""Messages from users: none lost, none larger than it may be, each one that the worker reads; and ids that stay the same."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from listwire import schemas, topics
from listwire.cohorts.members import Member
from listwire.cohorts.messages import LARGEST, Cohort, Message, default_id, messages
from listwire.records import Rejection
from stream.codecs.cohort_change import address_of, decode

VALIDATOR = jsonschema.Draft202012Validator(json.loads(schemas.cohort_change()))
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
solid = text.filter(str.strip)


@st.composite
def members(draw: st.DrawFn) -> list[Member]:
    ids = draw(st.lists(st.none() | text, max_size=40))
    return [Member(f"user{number}@example.com", user_id, number) for number, user_id in enumerate(ids, 1)]


def made(cohort: Cohort, enter: list[Member], leave: list[Member], **more: int) -> list[Message]:
    return list(messages(cohort, enter, leave, run_id="run", computed_at=1_700_000_000, **more))


def of(count: int, first: int = 0) -> list[Member]:
    return [Member(f"user{number}@example.com", str(number), number) for number in range(first, first + count)]


@given(
    enter=members(), leave=members(), name=solid, cohort_id=solid,
    chunk=st.integers(1, 50), largest=st.integers(200, 3000), properties=st.lists(solid, min_size=1, unique=True),
)  # fmt: skip
def test_every_user_is_in_one_message_in_order_and_the_worker_reads_it(
    enter: list[Member], leave: list[Member], name: str, cohort_id: str, chunk: int, largest: int, properties: list[str]
) -> None:
    cohort = Cohort(cohort_id, name, properties)
    found = made(cohort, enter, leave, chunk=chunk, largest=largest)
    heard: dict[bool, list[str | None]] = {True: [], False: []}
    for message in found:
        change = decode(message.value)
        assert not isinstance(change, Rejection)
        VALIDATOR.validate(json.loads(message.value))
        assert (change.cohort_id, change.cohort_name, change.entered) == (cohort_id, name, message.entered)
        users = change.users
        assert 1 <= len(users) == message.users <= chunk
        assert len(message.value) <= largest or len(users) == 1
        for user in users:
            assert user is not None
            said = {address_of(user, where) for where in properties}
            assert len(said) == 1
            heard[change.entered] += said
    assert heard[True] == [member.address for member in enter]
    assert heard[False] == [member.address for member in leave]


def test_messages_are_full_and_numbered_and_those_who_leave_come_first() -> None:
    found = made(Cohort("c", "n"), of(2500), of(1, 5000))
    assert [(message.entered, message.users) for message in found] == [
        (False, 1), (True, 1000), (True, 1000), (True, 500),
    ]  # fmt: skip
    first = json.loads(found[1].value)
    assert {key: value for key, value in first.items() if key != "users"} == {
        "cohort_id": "c", "cohort_name": "n", "in_cohort": True, "computed_time": "1700000000", "message_id": "run::enter::0",
    }  # fmt: skip
    assert first["users"][7] == {"user_id": "7", "user_properties": {"email": "user7@example.com"}}
    assert [json.loads(message.value)["message_id"] for message in found] == [
        "run::leave::0", "run::enter::0", "run::enter::1", "run::enter::2",
    ]  # fmt: skip


def test_the_longest_addresses_and_ids_still_make_messages_that_every_kafka_takes() -> None:
    longest = [Member(f"{number:0>240}@example.com", "\N{SNOWMAN}" * 1024, number) for number in range(1000)]
    found = made(Cohort("c", "n"), longest, [])
    assert sum(message.users for message in found) == 1000
    assert len(found) > 1
    assert max(len(message.value) for message in found) <= LARGEST < topics.MIB - 16 * 1024


def test_the_address_stands_where_the_syncs_look_for_it() -> None:
    someone = [Member("a@b.c", "42", 1)]
    for properties, user in (
        (["email", "mail"], {"user_id": "42", "user_properties": {"email": "a@b.c", "mail": "a@b.c"}}),
        (["user_id"], {"user_id": "a@b.c"}),
        (["user_id", "email"], {"user_id": "a@b.c", "user_properties": {"email": "a@b.c"}}),
    ):
        (message,) = made(Cohort("c", "n", properties), someone, [])
        assert json.loads(message.value)["users"] == [user]


def test_a_user_without_an_id_has_the_address_for_one() -> None:
    (message,) = made(Cohort("c", "n"), [Member("a@b.c", None, 1)], [])
    assert json.loads(message.value)["users"] == [{"user_id": "a@b.c", "user_properties": {"email": "a@b.c"}}]


@pytest.mark.parametrize(
    ("name", "cohort_id"),
    [
        ("Power users", "power-users-63872142"),
        ("  POWER Users ", "power-users-63872142"),
        ("Power-users", "power-users-6e0a3170"),
        ("Ünïcode!", "unicode-7c1111cb"),
        ("日本", "cohort-cf2abf0c"),
        ("x" * 80, f"{'x' * 48}-d929cdee"),
    ],
)
def test_a_name_s_id_is_the_same_for_ever(name: str, cohort_id: str) -> None:
    """A change here would send known cohorts to other partitions, where they could overtake themselves."""
    assert default_id(name) == cohort_id


@given(solid, solid)
def test_two_names_have_one_id_where_they_are_one_tag_and_only_there(one: str, other: str) -> None:
    assert default_id(f" {one.casefold()}\n") == default_id(one)
    assume(one.strip().casefold() != other.strip().casefold())
    assert default_id(one) != default_id(other)
