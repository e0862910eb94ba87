"""A key that Mailchimp refuses: tried for a minute, then parked, asked now and then, and taken back when it is good again."""

from __future__ import annotations

import asyncio
import json

import pytest

from listwire.settings.models import Delivery as Limits
from tests.cohort_stage import Stage, change, members
from tests.mailchimp_in_memory import TAG, Call, Trouble, problem
from tests.virtual_time import run

ANN, BOB = "ann@example.com", "bob@example.com"
REFUSALS = [problem("APIKeyInvalid"), problem("UserDisabled"), problem("WrongDatacenter"), problem("Forbidden")]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_key_is_tried_for_a_minute_and_then_its_changes_are_dead_letters_at_once(refusal: Trouble) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda _: refusal
        assert await stage.deliver(change(1, *members(2000)), change(2, ANN, name="Trial", entered=False))
        assert 60 <= stage.clock.monotonic() < 75
        assert stage.connection.parked
        assert stage.counted() == {"received": 2001, "dead_lettered": 2001}
        assert [(letter.reason, letter.headers["origin"][-1]) for letter in stage.letters] == [
            ("connection_refused", "1"),
            ("connection_refused", "2"),
        ]
        began, calls = stage.clock.monotonic(), len(stage.mailchimp.calls)
        assert await stage.deliver(change(3, ANN))
        assert stage.clock.monotonic() - began < 1
        assert len(stage.mailchimp.calls) == calls

    run(main())


@pytest.mark.parametrize("complaint", [problem("TooManyRequests"), Trouble(403, ""), Trouble(403, "<html>")])
def test_too_many_requests_and_a_403_without_json_are_no_refusal(complaint: Trouble) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda _: complaint if stage.clock.monotonic() < 3600 else None
        assert await stage.deliver(change(1, ANN))
        assert stage.letters == []
        assert stage.mailchimp.tagged() == {ANN}
        assert stage.limit.current < 10

    run(main())


def test_what_was_settled_before_the_refusal_is_not_in_the_dead_letter() -> None:
    async def main() -> None:
        everybody = members(2000)
        stage = Stage(everybody)
        passed: set[str] = set()

        def trouble(call: Call) -> Trouble | None:
            if len(passed) == 1000:
                return problem("APIKeyInvalid")
            passed.update(call.addresses)
            return None

        stage.mailchimp.trouble = trouble
        assert await stage.deliver(change(1, *everybody[:1500]), change(2, *everybody[1000:]))
        assert len(passed) == 1000
        dead = {each for letter in stage.letters for each in letter.ids}
        assert dead == set(everybody) - passed
        assert stage.mailchimp.tagged() == passed
        assert stage.counted() == {"received": 2500, "delivered": 1000, "filtered": 500, "dead_lettered": 1000}

    run(main())


def test_a_parked_key_is_asked_with_one_real_word_and_what_waits_goes_through_when_it_is_good() -> None:
    async def main() -> None:
        stage = Stage([ANN, BOB])
        assert await stage.deliver(change(0, ANN))
        stage.mailchimp.trouble = lambda _: problem("APIKeyInvalid")
        assert await stage.deliver(change(1, BOB))
        assert stage.connection.parked
        await asyncio.sleep(31)
        stage.mailchimp.calls.clear()
        assert await stage.deliver(change(2, BOB, ANN, entered=False))
        assert [(call.name, call.remove) for call in stage.mailchimp.calls] == [("segment", (BOB,))]
        assert stage.connection.parked, "the tag's id was known, and yet Mailchimp was asked"
        assert await stage.deliver(change(3, BOB, ANN, entered=False))
        assert len(stage.mailchimp.calls) == 1, "one probe in thirty seconds"
        stage.mailchimp.trouble = lambda _: None
        await asyncio.sleep(31)
        assert await stage.deliver(change(4, BOB))
        assert (stage.connection.parked, stage.mailchimp.tagged()) == (False, {ANN, BOB})
        assert [letter.headers["origin"][-1] for letter in stage.letters] == ["1", "2", "3"]

    run(main())


def test_a_key_that_may_look_and_not_write_is_not_taken_back_by_looking() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda call: problem("Forbidden") if call.name in {"create", "segment"} else None
        assert await stage.deliver(change(1, ANN))
        for number in range(5):
            await asyncio.sleep(31)
            began = stage.clock.monotonic()
            assert await stage.deliver(change(2 + number, ANN))
            assert stage.clock.monotonic() - began < 1, "a probe holds up nobody"
        assert len(stage.letters) == 6

    run(main())


@pytest.mark.parametrize("known", [True, False])
def test_an_audience_that_is_gone_parks_its_sync_and_no_other(known: bool) -> None:
    async def main() -> None:
        stage = Stage([ANN], {"newsletter": {}, "other": {"audience": "0ther"}})
        other = stage.mailchimp.account.add_audience("0ther", "Other")
        if known:
            assert await stage.deliver(change(0, ANN))
        del stage.mailchimp.account.audiences["0ther"]
        assert await stage.deliver(change(1, ANN, entered=False))
        assert (stage.connection.parked, stage.couriers["other"].connection.parked) == (False, True)
        for _ in range(3):
            await asyncio.sleep(31)
            began = stage.clock.monotonic()
            assert await stage.deliver(change(2, ANN))
            assert stage.clock.monotonic() - began < 1
        assert {letter.headers["connection"] for letter in stage.letters} == {"cohort_syncs.other"}
        assert stage.mailchimp.tagged() == {ANN}
        other.add_member(ANN, "subscribed", 0)
        stage.mailchimp.account.audiences["0ther"] = other
        await asyncio.sleep(31)
        assert await stage.deliver(change(3, ANN))
        assert other.tagged(TAG) == {ANN}

    run(main())


@pytest.mark.parametrize(
    "answer", [Trouble(502), Trouble(hang=True), problem("TooManyRequests"), Trouble(200, "<html>")]
)
def test_a_probe_that_learns_nothing_leaves_the_key_parked(answer: Trouble) -> None:
    async def main() -> None:
        stage = Stage([ANN], limits=Limits(park_after=5, probe_every=10))
        trouble = problem("APIKeyInvalid")
        stage.mailchimp.trouble = lambda _: trouble
        assert await stage.deliver(change(1, ANN))
        trouble = answer
        await asyncio.sleep(11)
        assert await stage.deliver(change(2, ANN))
        assert stage.connection.parked
        assert len(stage.letters) == 2

    run(main())


@pytest.mark.parametrize("rejected", ["create", "segment"])
def test_a_probe_whose_word_or_tag_is_rejected_has_shown_that_the_key_is_good(rejected: str) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda _: problem("APIKeyInvalid")
        assert await stage.deliver(change(1, ANN))
        stage.mailchimp.trouble = lambda call: problem("InvalidResource") if call.name == rejected else None
        await asyncio.sleep(31)
        assert await stage.deliver(change(2, ANN))
        assert not stage.connection.parked
        assert [letter.reason for letter in stage.letters] == ["connection_refused", "rejected_by_mailchimp"]

    run(main())


def test_refusals_far_apart_with_calls_that_pass_in_between_are_not_one_long_refusal() -> None:
    """One delivery may take minutes: what passes in the middle of it counts at once."""

    async def main() -> None:
        stage = Stage(members(10_000), connections=1)
        stage.mailchimp.latency = 10
        refused_at: list[float] = []

        def trouble(call: Call) -> Trouble | None:
            now = stage.clock.monotonic()
            if call.name == "segment" and (not refused_at or now - refused_at[-1] > 100):
                refused_at.append(now)
                return problem("APIKeyInvalid")
            return None

        stage.mailchimp.trouble = trouble
        assert await stage.deliver(change(1, *members(10_000)))
        assert len(refused_at) > 1
        assert stage.letters == []
        assert len(stage.mailchimp.tagged()) == 10_000

    run(main())


def test_closing_while_parked_acknowledges_nothing() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda _: problem("APIKeyInvalid")
        stage.producer.faults = [OSError("no broker")] * 10_000
        task = asyncio.ensure_future(stage.delivery([change(1, ANN)], stage.closing))
        await asyncio.sleep(600)
        stage.closing.set()
        assert await task is False
        assert stage.counted() == {"received": 1, "returned": 1}
        assert stage.letters == []

    run(main())


def test_a_paused_connection_is_not_probed() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.connection.pause("paused by ann")
        await asyncio.sleep(3600)
        assert await stage.deliver(change(1, ANN, "nowhere"))
        assert stage.mailchimp.calls == []
        assert {(letter.reason, *letter.ids) for letter in stage.letters} == {
            ("connection_refused", ANN),
            ("no_usable_address", "nowhere"),
        }
        assert json.loads(stage.letters[-1].value)["cohort_name"] == TAG
        stage.connection.pause(None)
        assert await stage.deliver(change(2, ANN))
        assert stage.mailchimp.tagged() == {ANN}

    run(main())
