"""Which syncs hear a change, and what becomes of changes that none can use."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.cohort_stage import Stage, change, members
from tests.mailchimp_in_memory import TAG
from tests.virtual_time import run

TWO = {"newsletter": {"cohorts": ["Power*", "Trial", "[EU] ?rial"]}, "vips": {"cohorts": ["*users"]}}
ANN = "ann@example.com"
ODD: list[Any] = [7, None, True, {}, ["a@b.c"], "", "no", "a@b.c, d@e.f", "\x00@b.c"]


def named(sync: str | None) -> dict[str, Any]:
    return {} if sync is None else {"sync": sync}


@pytest.mark.parametrize(
    ("name", "header", "heard_by"),
    [
        ("Power users", None, {"newsletter", "vips"}),
        ("Trial", None, {"newsletter"}),
        ("Trial users", None, {"vips"}),
        ("power users", None, {"vips"}),
        ("Power users", "newsletter", {"newsletter"}),
        ("Trial users", "newsletter", set()),
        ("[EU] Trial", None, {"newsletter"}),
        ("E Trial", None, set()),
        ("Other", None, set()),
    ],
)
def test_a_change_is_heard_by_each_sync_whose_patterns_match_unless_a_header_names_one(
    name: str, header: str | None, heard_by: set[str]
) -> None:
    async def main() -> None:
        stage = Stage([ANN], TWO)
        assert await stage.deliver(change(1, ANN, ANN.upper(), name=name, **named(header)))
        for sync in TWO:
            assert (stage.counted(sync)["delivered"] == 1) is (sync in heard_by)
        filtered_for = header or "?"
        assert stage.filtered("no_match", filtered_for) == (0 if heard_by else 2)
        assert stage.letters == []

    run(main())


def test_two_syncs_of_one_change_settle_independently() -> None:
    async def main() -> None:
        both = {"newsletter": {}, "other": {"email_property": "mail", "audience": "gone"}}
        stage = Stage([ANN], both)
        assert await stage.deliver(change(1, ANN, {"user_id": "x", "user_properties": {"mail": "x@example.com"}}))
        assert stage.counted("newsletter") == {"received": 2, "delivered": 1, "dead_lettered": 1}
        assert stage.counted("other") == {"received": 2, "dead_lettered": 2}
        found = {(letter.headers["connection"], letter.reason, *letter.ids) for letter in stage.letters}
        assert found == {
            ("cohort_syncs.newsletter", "no_usable_address", "x"),
            ("cohort_syncs.other", "no_usable_address", ANN),
            ("cohort_syncs.other", "connection_refused", "x"),
        }
        assert stage.mailchimp.tagged() == {ANN}

    run(main())


def test_a_sync_that_nobody_knows_makes_a_dead_letter_of_the_whole_message_under_one_label() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        record = change(1, ANN, "bob@example.com", sync="nobody\x00knows")
        assert await stage.deliver(record)
        assert stage.counted("?") == {"received": 2, "dead_lettered": 2}
        (letter,) = stage.letters
        assert (letter.reason, letter.value) == ("unknown_connection", record.value)
        assert letter.headers["connection"] == "cohort_syncs.nobody\x00knows"
        assert letter.headers["sync"] == "nobody\x00knows"
        assert letter.headers["origin"] == "listwire.cohort-changes/0/1"

    run(main())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff", "undecodable"),
        (None, "undecodable"),
        (b"[1]", "undecodable"),
        (json.dumps({"cohort_id": "c"}).encode(), "missing_field"),
        (json.dumps({"cohort_id": "c", "cohort_name": "x", "in_cohort": 1, "users": []}).encode(), "invalid_field"),
    ],
)
@pytest.mark.parametrize("header", [None, "newsletter"])
def test_an_unreadable_message_is_one_dead_letter_and_the_next_one_goes_through(
    value: bytes | None, reason: str, header: str | None
) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        bad = replace(change(1, **named(header)), value=value)
        assert await stage.deliver(bad, change(2, ANN))
        (letter,) = stage.letters
        assert (letter.reason, letter.value) == (reason, value or b"")
        assert letter.headers["connection"] == f"cohort_syncs.{header or '?'}"
        assert stage.mailchimp.tagged() == {ANN}

    run(main())


@pytest.mark.parametrize(
    ("name", "dead"),
    [("x" * 87, False), ("x" * 88, True), ("\U0001f680" * 87, False), ("\U0001f680" * 88, True), ("é" * 87, False)],
)
def test_a_name_of_88_code_points_is_too_long_for_a_tag(name: str, dead: bool) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        assert await stage.deliver(change(1, ANN, "bob@example.com", name=name))
        assert stage.mailchimp.tagged(name) == (set() if dead else {ANN})
        assert [(letter.reason, letter.ids) for letter in stage.letters] == (
            [("cohort_name_too_long", [ANN, "bob@example.com"])] if dead else []
        )
        assert stage.counted() == {"received": 2, **({"dead_lettered": 2} if dead else {"delivered": 2})}

    run(main())


def test_too_long_a_name_concerns_only_the_syncs_that_would_have_heard_it() -> None:
    async def main() -> None:
        stage = Stage([], TWO)
        assert await stage.deliver(change(1, ANN, name="Power " + "x" * 90))
        assert stage.counted("newsletter") == {"received": 1, "dead_lettered": 1}
        assert stage.counted("vips") == {}

    run(main())


def test_a_change_without_users_is_nobodys_business() -> None:
    async def main() -> None:
        stage = Stage(members(1))
        assert await stage.deliver(change(1), change(2, name="Other", sync="newsletter"))
        assert (stage.counted(), stage.letters, stage.mailchimp.calls) == ({}, [], [])

    run(main())


@pytest.mark.parametrize(
    "users",
    [
        [7, None, [], "text", {"user_id": 1.5}, {"user_properties": []}, {"user_id": {}}],
        [{}, {"user_id": None}, {"user_properties": None}, {"user_id": "x" * 10_000}],
        [{"user_properties": {"email": odd}} for odd in ODD],
    ],
)
def test_users_without_a_usable_address_are_dead_letters_that_hold_only_them(users: list[Any]) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        record = change(1, ANN)
        message = json.loads(record.value or b"")
        message["users"] = [users[0], *message["users"], *users[1:]]
        assert await stage.deliver(replace(record, value=json.dumps(message).encode()))
        assert stage.mailchimp.tagged() == {ANN}
        assert stage.counted() == {"received": len(users) + 1, "delivered": 1, "dead_lettered": len(users)}
        (letter,) = stage.letters
        assert json.loads(letter.value) == {**message, "users": users}
        assert letter.reason == ("invalid_field" if 7 in users else "no_usable_address")
        assert ("users[0]" if 7 in users else "'email'") in letter.headers["detail"]

    run(main())


def test_names_that_are_one_tag_share_it_and_people_are_told() -> None:
    async def main() -> None:
        stage = Stage(members(3))
        one, two, three = members(3)
        assert await stage.deliver(
            change(1, one, name=" Straße"),
            change(2, two, name="STRASSE "),
            change(3, three, name="strasse", cohort="c2"),
        )
        assert stage.mailchimp.tagged("straße") == {one, two, three}
        assert len(stage.mailchimp.named("create")) == 1
        assert [segment.name for segment in stage.mailchimp.audience.segments.values()] == ["Straße"]
        assert stage.courier.shared_tags.shared == 2
        for number in range(100):
            assert await stage.deliver(change(4 + number, one, name="strasse", cohort=f"more{number}"))
        assert stage.courier.shared_tags.shared == 20, "counted no further: the memory of a name is bounded"
        assert TAG not in {segment.name for segment in stage.mailchimp.audience.segments.values()}

    run(main())
