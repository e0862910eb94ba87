"""The published schema and the codec give one answer: a message that the schema accepts, Listwire reads whole, and no other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hatchling.builders.wheel import WheelBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from listwire import schemas
from listwire.records import Rejection
from stream.codecs.cohort_change import NAME_LIMIT, decode

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(schemas.cohort_change())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
USER = jsonschema.Draft202012Validator(SCHEMA["properties"]["users"]["items"])
GOOD = {"cohort_id": "7khm89cz", "cohort_name": "Power users", "in_cohort": True, "users": []}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
blank = st.text(st.sampled_from([c for c in map(chr, range(sys.maxunicode)) if c.isspace()]), max_size=3)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
anything = st.recursive(scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(text, below, max_size=3))
# Without 1.0: JSON Schema knows no difference between it and 1, see below.
user_ids = anything.filter(lambda value: not (isinstance(value, float) and value.is_integer()))
users = anything | st.fixed_dictionaries(
    {},
    optional={
        "user_id": text | st.integers() | user_ids,
        "user_properties": st.dictionaries(text, anything, max_size=3) | anything,
        "group": anything,
    },
)
names = text | blank | st.integers(NAME_LIMIT - 3, NAME_LIMIT + 1).map("\U0001d4cd".__mul__) | anything
messages = st.fixed_dictionaries(
    {},
    optional={
        "cohort_id": text | blank | anything,
        "cohort_name": names,
        "in_cohort": st.booleans() | anything,
        "users": st.lists(users, max_size=4) | anything,
        "computed_time": anything,
        "more": anything,
    },
)
near_misses = st.builds(lambda good, wrong: {**good, **wrong}, st.just(GOOD), messages)


def read_whole(value: bytes) -> bool:
    change = decode(value)
    return not isinstance(change, Rejection) and None not in change.users and len(change.cohort_name) < NAME_LIMIT


@given(message=messages | near_misses | anything, ascii_only=st.booleans())
@example(GOOD, True)
@example({**GOOD, "cohort_name": "x" * 87}, True)
@example({**GOOD, "cohort_name": "x" * 88}, True)
@example({**GOOD, "cohort_id": "\x1c\u2003"}, True)
@example({**GOOD, "cohort_id": "\ufeff"}, True)
@example({**GOOD, "in_cohort": 1}, True)
@example({**GOOD, "users": [{"user_id": 10**30}, {"user_properties": None}]}, True)
def test_the_schema_accepts_what_the_codec_reads_whole_and_nothing_else(message: Any, ascii_only: bool) -> None:
    value = json.dumps(message, ensure_ascii=ascii_only).encode()
    assert VALIDATOR.is_valid(message) is read_whole(value)


@given(st.lists(users, max_size=6))
def test_an_entry_that_the_schema_refuses_is_the_codec_s_none_and_costs_only_itself(entries: list[Any]) -> None:
    change = decode(json.dumps({**GOOD, "users": entries}).encode())
    assert not isinstance(change, Rejection)
    assert [user is not None for user in change.users] == [USER.is_valid(entry) for entry in entries]


def test_a_whole_number_with_a_fraction_is_where_the_two_differ_since_json_schema_cannot_see_it() -> None:
    message = {**GOOD, "users": [{"user_id": 1.0}, {"user_id": 1}]}
    assert VALIDATOR.is_valid(message)
    change = decode(json.dumps(message).encode())
    assert not isinstance(change, Rejection)
    assert [user and user.user_id for user in change.users] == [None, 1]
    assert "without a fraction" in SCHEMA["properties"]["users"]["items"]["properties"]["user_id"]["description"]


def test_blank_means_the_same_in_every_dialect_of_regular_expressions() -> None:
    """So `\\s` is not used: JavaScript's and Python's are not the same set."""
    accepts: Callable[[Any], bool] = jsonschema.Draft202012Validator(SCHEMA["properties"]["cohort_id"]).is_valid
    assert [chr(c) for c in range(sys.maxunicode) if accepts(chr(c)) is chr(c).isspace()] == []


def test_the_schema_is_itself_valid_and_its_examples_are() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for message in SCHEMA["examples"]:
        VALIDATOR.validate(message)
    assert SCHEMA["properties"]["cohort_name"]["maxLength"] == NAME_LIMIT - 1


def test_unknown_keys_are_allowed_on_every_level() -> None:
    message = {**GOOD, "new": 1, "users": [{"user_id": "a", "new": {}}]}
    VALIDATOR.validate(message)
    assert read_whole(json.dumps(message).encode())


def test_the_docs_show_the_very_file_of_the_package() -> None:
    assert (ROOT / "docs" / "cohort-change.schema.json").read_text() == schemas.cohort_change()


def test_the_wheel_holds_the_schema(tmp_path: Path) -> None:
    import zipfile

    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as packed:
        assert packed.read("listwire/schemas/cohort-change.schema.json").decode() == schemas.cohort_change()


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_what_is_required_is_what_the_codec_misses(key: str) -> None:
    message = {name: value for name, value in GOOD.items() if name != key}
    assert not VALIDATOR.is_valid(message)
    assert decode(json.dumps(message).encode()).reason == "missing_field"  # type: ignore[union-attr]
