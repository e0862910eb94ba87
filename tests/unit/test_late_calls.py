"""A tag call without an answer that Mailchimp carries out later: no newer word may be overtaken, and no other has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from listwire.errors import VendorUnavailable
from listwire.settings.models import Delivery as Limits
from stream.late_calls import LateCalls
from stream.tag_ids import Tag
from tests.cohort_stage import Stage, change
from tests.mailchimp_in_memory import AUDIENCE, Call, Trouble, problem
from tests.virtual_time import LoopClock, run

ANN, BOB = "ann@example.com", "bob@example.com"
LATE = Trouble(hang=True, late=60)
POWER = Tag(AUDIENCE, "Power users")


def once(trouble: Trouble) -> Callable[[Call], Trouble | None]:
    """For the first segment call."""
    left = [trouble]
    return lambda call: left.pop() if left and call.name == "segment" else None


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("trouble", [LATE, Trouble(504, late=60), Trouble(504, late=119)])
def test_a_call_that_is_carried_out_late_does_not_overtake_the_newer_word(trouble: Trouble, entered: bool) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        await stage.deliver(change(1, ANN, entered=not entered))
        stage.mailchimp.trouble = once(trouble)
        assert await stage.deliver(change(2, ANN, entered=entered))
        assert await stage.deliver(change(3, ANN, entered=not entered))
        await asyncio.sleep(300)
        assert stage.mailchimp.tagged() == (set() if entered else {ANN})

    run(main())


@pytest.mark.parametrize(
    "newer",
    [
        change(2, ANN),
        change(2, BOB, entered=False),
        change(2, ANN, entered=False, name="Trial", cohort="c2"),
    ],
    ids=["the same word", "another contact", "another tag"],
)
def test_words_that_do_not_contradict_it_do_not_wait(newer: object) -> None:
    async def main() -> None:
        stage = Stage([ANN, BOB])
        stage.mailchimp.trouble = once(LATE)
        assert await stage.deliver(change(1, ANN))
        began = stage.clock.monotonic()
        assert await stage.deliver(newer)  # type: ignore[arg-type]
        assert stage.clock.monotonic() - began < 5

    run(main())


@pytest.mark.parametrize("trouble", [Trouble(500), Trouble(502, done=True), Trouble(503), problem("TooManyRequests")])
def test_after_any_other_fault_nothing_waits(trouble: Trouble) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = once(trouble)
        assert await stage.deliver(change(1, ANN))
        began = stage.clock.monotonic()
        assert await stage.deliver(change(2, ANN, entered=False))
        assert stage.clock.monotonic() - began < 5
        assert stage.mailchimp.tagged() == set()

    run(main())


def test_a_closing_lane_does_not_wait_for_it() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = once(LATE)
        assert await stage.deliver(change(1, ANN))
        calls = len(stage.mailchimp.calls)
        closing = asyncio.Event()
        waiting = asyncio.ensure_future(stage.delivery([change(2, ANN, entered=False)], closing))
        await asyncio.sleep(1)
        closing.set()
        began = stage.clock.monotonic()
        assert not await waiting
        assert stage.clock.monotonic() - began < 1
        assert len(stage.mailchimp.calls) == calls, "nothing was sent"

    run(main())


def test_a_probe_that_timed_out_is_waited_for_and_no_probe_contradicts_one() -> None:
    async def main() -> None:
        stage = Stage([ANN], limits=Limits(park_after=5, probe_every=10))
        assert await stage.deliver(change(1, ANN, entered=False))  # finds that there is no tag
        stage.mailchimp.trouble = lambda _: problem("APIKeyInvalid")
        assert await stage.deliver(change(2, ANN))
        assert stage.connection.parked
        await asyncio.sleep(10)
        stage.mailchimp.trouble = once(LATE)
        assert await stage.deliver(change(3, ANN)), "the probe gets no answer: the change is a dead letter"
        assert [letter.reason for letter in stage.letters] == ["connection_refused"] * 2
        probes = len(stage.mailchimp.named("segment"))
        await asyncio.sleep(10)
        assert await stage.deliver(change(4, ANN, entered=False))
        assert len(stage.mailchimp.named("segment")) == probes, (
            "the contrary of what may be carried out yet asks nothing"
        )
        await asyncio.sleep(120)
        assert await stage.deliver(change(5, ANN, entered=False))
        assert not stage.connection.parked
        assert stage.mailchimp.tagged() == set()

    run(main())


def test_only_calls_that_may_be_carried_out_yet_are_remembered() -> None:
    async def main() -> None:
        late = LateCalls(LoopClock(asyncio.get_running_loop()), 120)
        timeout = VendorUnavailable("mailchimp", 0, "", cause="timeout")
        late.note(timeout, POWER, [ANN], [])
        await asyncio.sleep(60)
        late.note(timeout, POWER, [ANN], [BOB])
        assert late.seconds(POWER, [], [ANN]) == pytest.approx(120, abs=0.1)
        await asyncio.sleep(60.5)
        assert late.seconds(POWER, [BOB], []) == pytest.approx(59.5, abs=0.1)
        assert late.seconds(Tag(AUDIENCE, "power USERS"), [BOB], [ANN]) == pytest.approx(59.5, abs=0.1)
        assert late.seconds(Tag("another", POWER.name), [BOB], [ANN]) == 0
        await asyncio.sleep(60)
        assert late.seconds(POWER, [BOB], [ANN]) == 0
        late.note(timeout, POWER, ["eve@example.com"], [])
        assert len(late._until) == 1

    run(main())
