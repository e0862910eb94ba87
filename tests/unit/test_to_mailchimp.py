"""Cohort changes to tags: the last word per tag and address, what Mailchimp says of each, and stopping in the middle."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.cohort_stage import Stage, change, members, user
from tests.mailchimp_in_memory import TAG, Call, Trouble
from tests.virtual_time import run

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"


def test_the_last_word_per_tag_and_address_wins_and_the_others_are_superseded() -> None:
    async def main() -> None:
        stage = Stage([ANN, BOB, EVE])
        assert await stage.deliver(
            change(1, ANN, BOB, EVE),
            change(2, BOB, name="power USERS", entered=False),
            change(3, " ANN@example.com ", entered=False),
            change(4, BOB, name="Trial"),
            change(5, ANN, ANN),
        )
        assert stage.mailchimp.tagged() == {ANN, EVE}
        assert stage.mailchimp.tagged("Trial") == {BOB}
        assert stage.counted() == {"received": 8, "delivered": 4, "filtered": 4}
        assert stage.filtered("superseded") == 4
        calls = [call for call in stage.mailchimp.named("segment") if BOB in call.remove]
        assert [(set(call.add), call.remove) for call in calls] == [({ANN, EVE}, (BOB,))], "one call for all of a tag"

    run(main())


def test_1200_enter_and_700_leave_in_three_calls_of_at_most_500_each_way() -> None:
    async def main() -> None:
        everybody = members(1900)
        stage = Stage(everybody)
        assert await stage.deliver(change(1, *everybody[1200:]))
        assert await stage.deliver(change(2, *everybody[1200:], entered=False), change(3, *everybody[:1200]))
        calls = stage.mailchimp.named("segment")[2:]
        assert [(len(call.add), len(call.remove)) for call in calls] == [(500, 500), (500, 200), (200, 0)]
        assert stage.mailchimp.tagged() == set(everybody[:1200])

    run(main())


def test_deliveries_of_many_calls_never_hold_more_connections_than_configured() -> None:
    async def main() -> None:
        stage = Stage(members(100), connections=5)
        names = [f"Cohort {number}" for number in range(7)]
        everybody = members(3000)
        assert await stage.deliver(*(change(number, *everybody, name=name) for number, name in enumerate(names)))
        assert stage.mailchimp.most == 5
        assert len(stage.mailchimp.named("segment")) == 42

    run(main())


def test_a_lone_change_is_not_behind_all_calls_of_a_large_delivery_of_another_partition() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        large = asyncio.ensure_future(stage.delivery([change(1, *members(50_000))], stage.closing))
        await asyncio.sleep(0.35)  # its 100 calls would take a second
        began = stage.clock.monotonic()
        assert await stage.delivery([change(2, ANN, name="Trial", cohort="c2")], stage.closing)
        assert stage.clock.monotonic() - began < 0.7, "search, create, segment: each behind ten others at most"
        assert not large.done()
        assert await large

    run(main())


def test_who_is_not_in_the_audience_is_unconfirmed_or_missing_and_never_created() -> None:
    async def main() -> None:
        for non_members, counted, filtered in (("ignored", 2, 0), ("errors", 1, 1)):
            stage = Stage([ANN], behaviour={"non_members": non_members})
            assert await stage.deliver(change(1, ANN, "stranger@example.com"))
            assert stage.counted()["delivered"] == counted
            assert stage.filtered("missing") == filtered
            assert stage.mailchimp.tagged() == {ANN}
            assert {member.address for member in stage.mailchimp.audience.members.values()} == {ANN}

    run(main())


def test_an_address_named_in_errors_is_looked_up_once_and_judged_by_what_it_is() -> None:
    async def main() -> None:
        stage = Stage([ANN, BOB, EVE, "old@example.com"], behaviour={"non_members": "errors", "repeats": "errors"})
        stage.mailchimp.audience.add_member("gone@example.com", "archived", 0)
        stage.mailchimp.audience.add_member("bounced@example.com", "cleaned", 0)
        assert await stage.deliver(change(1, ANN))
        stage.mailchimp.calls.clear()
        everybody = [ANN, BOB, "gone@example.com", "bounced@example.com", "stranger@example.com"]
        assert await stage.deliver(change(2, *everybody), change(3, EVE, entered=False))
        assert len(stage.mailchimp.named("member")) == 5
        assert len(stage.mailchimp.named("segment")) == 1
        assert stage.mailchimp.tagged() == {ANN, BOB}
        assert stage.counted() == {"received": 7, "delivered": 4, "filtered": 2, "dead_lettered": 1}
        (letter,) = stage.letters
        assert (letter.reason, letter.ids) == ("rejected_by_mailchimp", ["bounced@example.com"])
        assert letter.headers["detail"] == "Email is not subscribed to the list"

    run(main())


def test_where_fifty_tags_hide_the_one_in_question_the_words_of_the_error_stand() -> None:
    """Mailchimp shows at most 50 tags of a member: a removal that failed must not pass for one that is done."""

    async def main() -> None:
        stage = Stage([ANN, BOB])
        for number in range(60):
            assert await stage.deliver(change(number, ANN, name=f"Tag {number}"))
        errors = [{"email_addresses": [ANN, BOB], "error": "Not now."}]
        stage.mailchimp.trouble = lambda call: (
            Trouble(200, json.dumps({"errors": errors})) if call.name == "segment" else None
        )
        assert await stage.deliver(change(60, ANN, BOB, name="Tag 55", entered=False))
        assert [(letter.reason, letter.ids) for letter in stage.letters] == [("rejected_by_mailchimp", [ANN])]
        assert await stage.deliver(change(61, ANN, name="Tag 5"))
        assert len(stage.letters) == 1, "it is shown, and is as it should be"

    run(main())


def test_words_that_differ_only_in_the_address_make_one_dead_letter() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda call: (
            None
            if call.name != "segment" or set(call.addresses) == {ANN}
            else Trouble(400, json.dumps({"title": "Bad", "detail": f"No: {call.addresses[0].title()}."}))
        )
        assert await stage.deliver(change(1, ANN, BOB, EVE))
        assert {(letter.headers["detail"], *letter.ids) for letter in stage.letters} == {
            ("No: (address).", BOB),
            ("No: (address).", EVE),
        }
        assert stage.mailchimp.tagged() == {ANN}

    run(main())


def test_removing_a_tag_that_does_not_exist_asks_once_and_makes_none() -> None:
    async def main() -> None:
        stage = Stage(members(10))
        assert await stage.deliver(change(1, *members(1200), entered=False))
        assert [call.name for call in stage.mailchimp.calls] == ["search"]
        assert stage.counted() == {"received": 1200, "delivered": 1200}

    run(main())


def test_the_id_of_a_tag_is_asked_for_once_whatever_the_letters_case() -> None:
    async def main() -> None:
        stage = Stage(members(3), behaviour={"tag_case": "lower"})
        for number, name in enumerate((TAG, TAG.upper(), TAG.lower(), f" {TAG}")):
            assert await stage.deliver(change(number, *members(3), name=name))
        assert [call.name for call in stage.mailchimp.calls] == ["search", "create", *["segment"] * 4]

    run(main())


@pytest.mark.parametrize("hang", ["segment", "search", "create", "member"])
def test_closing_waits_for_the_call_under_way_and_begins_no_other(hang: str) -> None:
    async def main() -> None:
        stage = Stage(members(20_000), behaviour={"non_members": "errors", "repeats": "errors"})
        if hang == "member":
            assert await stage.deliver(change(0, *members(20_000)))
        stage.mailchimp.trouble = lambda call: Trouble(hang=True) if call.name == hang else None
        task = asyncio.ensure_future(stage.delivery([change(1, *members(20_000))], stage.closing))
        await asyncio.sleep(1)
        began, calls = stage.clock.monotonic(), len(stage.mailchimp.calls)
        stage.closing.set()
        assert await task is False
        assert stage.clock.monotonic() - began <= 30, "Mailchimp's time-out"
        assert len(stage.mailchimp.calls) == calls
        assert (stage.limit.in_use, stage.mailchimp.under_way) == (0, 0)
        assert stage.counted()["returned"] > 0

    run(main())


@pytest.mark.parametrize("complaint", [Trouble(429, '{"title": "TooManyRequests"}'), Trouble(403, "")])
def test_closing_ends_a_pause_at_once(complaint: Trouble) -> None:
    async def main() -> None:
        stage = Stage(members(20_000))
        assert await stage.deliver(change(0, ANN))
        stage.mailchimp.trouble = lambda _: complaint
        task = asyncio.ensure_future(stage.delivery([change(1, *members(20_000))], stage.closing))
        await asyncio.sleep(100)
        began = stage.clock.monotonic()
        stage.closing.set()
        assert await task is False
        assert stage.clock.monotonic() - began < 1
        assert (stage.limit.in_use, stage.counted()["returned"]) == (0, 20_000)

    run(main())


def test_a_tag_that_is_being_removed_and_made_elsewhere_settles_what_was_closed_in_the_middle() -> None:
    """Nothing is acknowledged while a word is open: the whole delivery comes again, and ends with the same tag."""

    async def main() -> None:
        stage = Stage(members(3000))
        records = [change(1, *members(3000)), change(2, *members(100), entered=False)]
        closing = asyncio.Event()

        def close_soon(call: Call) -> Any:
            if call.name == "segment" and len(stage.mailchimp.named("segment")) == 3:
                closing.set()

        stage.mailchimp.trouble = close_soon
        stage.mailchimp.latency = 0.01
        stage.limit.highest = stage.limit.current = 1
        assert not await stage.deliver(*records, closing=closing)
        assert 0 < len(stage.mailchimp.tagged()) < 2900
        assert await stage.deliver(*records)
        assert stage.mailchimp.tagged() == set(members(2900, first=100))

    run(main())


def test_dead_letters_that_kafka_does_not_take_are_tried_until_it_does() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.producer.faults = [OSError("no broker"), TimeoutError(), AssertionError("closed")]
        assert await stage.deliver(change(1, ANN, "nowhere", user(7)))
        assert [letter.ids for letter in stage.letters] == [["nowhere", 7]]
        assert stage.mailchimp.tagged() == {ANN}

    run(main())
