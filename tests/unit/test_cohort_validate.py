"""`cohorts validate` says of a message what the worker says of it: the same reasons in the same words."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire import topics
from listwire.cli.cohorts_validate import judge
from stream.agents.cohort_tags import SortChanges
from stream.codecs.cohort_change import NAME_LIMIT
from stream.delivery import Sorted

GOOD: dict[str, Any] = {"cohort_id": "7khm89cz", "cohort_name": "Power users", "in_cohort": True, "users": []}
ANN = {"user_id": "42", "user_properties": {"email": " Ann@Example.com "}}


def worker_says(value: bytes) -> list[tuple[str, str]]:
    """What the worker makes of the message as a whole."""
    into: Sorted[Any] = Sorted()
    sync: Any = SimpleNamespace(matches=lambda _name: True)
    SortChanges({"newsletter": sync})([SimpleNamespace(value=value, headers=())], into)
    return [(dead.rejection.reason.value, dead.rejection.detail) for dead in into.dead]


def we_say(value: bytes) -> list[tuple[str, str]]:
    verdict = judge(value, "email")
    return [] if verdict["accepted"] else [(verdict["reason"], verdict["detail"])]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
changed = st.dictionaries(
    st.sampled_from(["cohort_id", "cohort_name", "in_cohort", "users"]), st.none() | st.booleans() | text | st.lists(text, max_size=2)
)  # fmt: skip


@given(st.binary() | changed.map(lambda wrong: json.dumps({**GOOD, **wrong}).encode()))
def test_what_is_wrong_with_a_message_is_told_in_the_worker_s_words(value: bytes) -> None:
    assert we_say(value) == worker_says(value)


@pytest.mark.parametrize("key", list(GOOD))
def test_a_missing_key_is_told_in_the_worker_s_words(key: str) -> None:
    value = json.dumps({name: of for name, of in GOOD.items() if name != key}).encode()
    assert we_say(value) == worker_says(value) == [("missing_field", f"{key} is missing")]


@pytest.mark.parametrize("length", [NAME_LIMIT - 1, NAME_LIMIT])
def test_a_long_name_is_told_in_the_worker_s_words(length: int) -> None:
    value = json.dumps({**GOOD, "cohort_name": "\N{SNOWMAN}" * length, "users": [ANN]}).encode()
    assert we_say(value) == worker_says(value)
    assert len(we_say(value)) == length - NAME_LIMIT + 1


def test_users_who_would_become_dead_letters_are_told_one_by_one() -> None:
    users = [ANN, {"user_id": "ann@example.com"}, 3, {"user_properties": {"email": "a b@c.d"}}, {}]
    verdict = judge(json.dumps({**GOOD, "users": users}).encode(), "email")
    assert (verdict["accepted"], verdict["users"], verdict["usable"]) == (True, 5, 1)
    assert [(each["user"], each["reason"]) for each in verdict["dead_letters"]] == [
        (1, "no_usable_address"), (2, "invalid_field"), (3, "no_usable_address"), (4, "no_usable_address"),
    ]  # fmt: skip
    other = judge(json.dumps({**GOOD, "users": users}).encode(), "user_id")
    assert [each["user"] for each in other["dead_letters"]] == [0, 2, 3, 4]


def test_a_message_over_the_limit_is_not_taken() -> None:
    just = json.dumps({**GOOD, "padding": ""}).encode()
    padding = topics.MAX_COHORT_BODY - len(just)
    for more, accepted in ((0, True), (1, False)):
        value = json.dumps({**GOOD, "padding": "x" * (padding + more)}).encode()
        assert judge(value, "email")["accepted"] is accepted
