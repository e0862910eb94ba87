"""Segment calls when things go wrong: what is halved, what is tried again, what is given up, and whom that concerns."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.tag_calls import halves
from tests.cohort_stage import Stage, change, members
from tests.mailchimp_in_memory import TAG, Call, Trouble, problem
from tests.virtual_time import run

ANN, BOB = "ann@example.com", "bob@example.com"
BAD = "bad@example.com"


def refusing(*culprits: str, status: int = 400) -> Any:
    """A whole call is refused when one of these is in it, as Mailchimp does for some addresses."""
    body = json.dumps({"title": "Invalid Resource", "detail": "Please provide a valid email address."})
    return lambda call: (
        Trouble(status, body) if call.name == "segment" and set(culprits) & set(call.addresses) else None
    )


@given(st.integers(0, 500), st.integers(0, 500))
def test_halves_are_smaller_never_empty_and_lose_nobody(add: int, remove: int) -> None:
    adding, removing = members(add), members(remove, first=1000)
    if add + remove < 2:
        return
    pairs = halves(adding, removing)
    assert len(pairs) == 2
    assert all(0 < len(a) + len(r) < add + remove for a, r in pairs)
    assert [*itertools.chain(*(a for a, _ in pairs))] == adding
    assert [*itertools.chain(*(r for _, r in pairs))] == removing


@pytest.mark.parametrize("status", [400, 405, 413, 414, 422])
def test_a_call_refused_as_a_whole_is_halved_until_the_culprit_is_alone(status: int) -> None:
    async def main() -> None:
        everybody = [*members(600), BAD]
        stage = Stage(everybody)
        assert await stage.deliver(change(0, *everybody[100:300]))
        stage.mailchimp.calls.clear()
        stage.mailchimp.trouble = refusing(BAD, "member150@example.com", status=status)
        assert await stage.deliver(change(1, *everybody), change(2, *everybody[100:300], entered=False))
        assert stage.mailchimp.tagged() == {*everybody[:100], *everybody[300:600], "member150@example.com"}
        letters = {(letter.reason, letter.headers["origin"][-1], *letter.ids) for letter in stage.letters}
        assert letters == {
            ("rejected_by_mailchimp", "1", BAD),
            ("rejected_by_mailchimp", "2", "member150@example.com"),
        }
        assert len(stage.mailchimp.named("segment")) < 50

    run(main())


def test_a_call_that_times_out_is_made_again_in_halves_since_it_may_have_happened() -> None:
    async def main() -> None:
        stage = Stage(members(1000))
        hangs: Iterator[Any] = iter([None, None, Trouble(hang=True, done=True), Trouble(hang=True)])
        stage.mailchimp.trouble = lambda _: next(hangs, None)
        assert await stage.deliver(change(1, *members(500)))
        assert [len(call.add) for call in stage.mailchimp.named("segment")] == [500, 250, 125, 125, 250]
        assert stage.mailchimp.tagged() == set(members(500))
        assert stage.clock.monotonic() == pytest.approx(60, abs=3)

    run(main())


def test_a_single_address_that_times_out_is_tried_until_it_passes() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.trouble = lambda call: (
            Trouble(hang=True) if call.name == "segment" and stage.clock.monotonic() < 900 else None
        )
        assert await stage.deliver(change(1, ANN))
        assert stage.mailchimp.tagged() == {ANN}

    run(main())


@pytest.mark.parametrize("name", ["search", "create", "list", "segment", "member"])
@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(502),
        Trouble(502, done=True),
        Trouble(500, "{}"),
        Trouble(hang=True),
        Trouble(hang=True, done=True),
        problem("TooManyRequests"),
        Trouble(403, ""),
        Trouble(200, "<html>"),
        Trouble(404, "<html>"),
    ],
)
def test_trouble_that_passes_leaves_no_trace(name: str, trouble: Trouble) -> None:
    async def main() -> None:
        stage = Stage(members(2), behaviour={"non_members": "errors"})
        if name == "list":
            stage.mailchimp.account.behaviour.tag_visible_after = 3
            assert await stage.deliver(change(0, *members(1)))
            stage.courier.calls.ids._ids.clear()  # as after a restart
        left = [trouble] * 3
        stage.mailchimp.trouble = lambda call: left.pop() if left and call.name == name else None
        assert await stage.deliver(change(1, *members(3)))
        assert (len(left) < 3, stage.letters) == (True, [])
        assert stage.mailchimp.tagged() == set(members(2))
        assert stage.counted()["filtered"] == 1

    run(main())


def test_a_tag_deleted_by_hand_is_made_again() -> None:
    async def main() -> None:
        stage = Stage([ANN, BOB])
        assert await stage.deliver(change(1, ANN))
        segment = stage.mailchimp.audience.tag(TAG)
        assert segment is not None
        stage.mailchimp.account.tags.delete(stage.mailchimp.audience, segment, "")
        assert await stage.deliver(change(2, BOB), change(3, ANN, entered=False))
        assert stage.mailchimp.tagged() == {BOB}

    run(main())


def test_a_tag_deleted_by_hand_is_not_made_again_only_to_remove_from_it() -> None:
    async def main() -> None:
        stage = Stage([ANN, BOB])
        assert await stage.deliver(change(1, ANN))
        segment = stage.mailchimp.audience.tag(TAG)
        assert segment is not None
        stage.mailchimp.account.tags.delete(stage.mailchimp.audience, segment, "")
        assert await stage.deliver(change(2, ANN, entered=False))
        assert stage.mailchimp.audience.tag(TAG) is None
        assert stage.counted()["delivered"] == 2

    run(main())


def test_a_tag_that_somebody_else_makes_at_the_same_moment_is_found() -> None:
    async def main() -> None:
        stage = Stage([ANN])

        def race(call: Call) -> None:
            if call.name == "create":
                stage.mailchimp.trouble = lambda _: None
                stage.mailchimp.account.tags.create(stage.mailchimp.audience, TAG.lower(), [], "")

        stage.mailchimp.trouble = race
        assert await stage.deliver(change(1, ANN))
        assert [call.name for call in stage.mailchimp.calls] == ["search", "create", "list", "segment"]
        assert stage.mailchimp.tagged() == {ANN}

    run(main())


@pytest.mark.parametrize(
    "trouble", [problem("ResourceNotFound"), Trouble(404, "no such page"), problem("MethodNotAllowed")]
)
def test_where_tags_cannot_be_searched_they_are_listed(trouble: Trouble) -> None:
    async def main() -> None:
        stage = Stage([ANN])
        stage.mailchimp.account.tags.create(stage.mailchimp.audience, TAG.upper(), [], "")
        stage.mailchimp.trouble = lambda call: trouble if call.name == "search" else None
        assert await stage.deliver(change(1, ANN))
        assert [call.name for call in stage.mailchimp.calls] == ["search", "list", "segment"]
        assert stage.mailchimp.tagged() == {ANN}

    run(main())


def test_a_tag_that_exists_and_does_not_show_yet_is_waited_for() -> None:
    async def main() -> None:
        stage = Stage([ANN], behaviour={"tag_visible_after": 20})
        stage.mailchimp.account.tags.create(stage.mailchimp.audience, TAG, [], "")
        assert await stage.deliver(change(1, ANN))
        assert stage.mailchimp.tagged() == {ANN}
        assert 20 <= stage.clock.monotonic() < 40

    run(main())


def test_a_name_that_a_saved_segment_has_is_given_up_after_a_minute_and_holds_up_no_other_tag() -> None:
    """Mailchimp: "Sorry, that tag already exists.", while no list of tags shows it. It would be tried for ever."""

    async def main() -> None:
        stage = Stage(members(700))
        stage.mailchimp.account.tags.create_saved(stage.mailchimp.audience, TAG, {})
        assert await stage.deliver(change(1, *members(700)), change(2, *members(700), name="Trial"))
        assert stage.clock.monotonic() < 90
        assert stage.counted() == {"received": 1400, "delivered": 700, "dead_lettered": 700}
        (letter,) = stage.letters
        assert letter.reason == "rejected_by_mailchimp"
        assert "already exists" in letter.headers["detail"]
        assert TAG in letter.headers["detail"]
        began = stage.clock.monotonic()
        assert await stage.deliver(change(3, *members(1)))
        assert stage.clock.monotonic() - began < 1, "it was tried for a minute: later ones need not wait as long"
        segment = stage.mailchimp.audience.tag(TAG)
        assert segment is not None
        stage.mailchimp.account.tags.delete(stage.mailchimp.audience, segment, "")
        assert await stage.deliver(change(4, *members(1)))
        assert stage.mailchimp.tagged() == set(members(1))

    run(main())


def test_a_segment_that_is_always_gone_is_given_up_too() -> None:
    async def main() -> None:
        stage = Stage(members(700))
        stage.mailchimp.trouble = lambda call: problem("ResourceNotFound") if call.name == "segment" else None
        assert await stage.deliver(change(1, *members(700)))
        assert stage.clock.monotonic() < 90
        assert stage.counted() == {"received": 700, "dead_lettered": 700}
        assert len(stage.mailchimp.named("segment")) < 40, "not halved: it is the tag, not an address"

    run(main())


@pytest.mark.parametrize("name", ["search", "create"])
def test_a_name_that_mailchimp_refuses_costs_its_own_changes_and_nobody_elses(name: str) -> None:
    async def main() -> None:
        stage = Stage(members(700))
        left = [problem("InvalidResource")]
        stage.mailchimp.trouble = lambda call: left.pop() if left and call.name == name else None
        assert await stage.deliver(change(1, *members(700)))
        assert await stage.deliver(change(2, *members(3), name="Trial"))
        assert stage.counted() == {"received": 703, "delivered": 3, "dead_lettered": 700}
        assert [(letter.reason, len(letter.ids)) for letter in stage.letters] == [("rejected_by_mailchimp", 700)]
        assert "This value should not be blank" in stage.letters[0].headers["detail"]
        assert stage.mailchimp.tagged("Trial") == set(members(3))

    run(main())


def test_a_lookup_that_mailchimp_refuses_rejects_that_address_instead_of_asking_for_ever() -> None:
    async def main() -> None:
        stage = Stage([ANN], behaviour={"non_members": "errors"})
        stage.mailchimp.trouble = lambda call: problem("BadRequest") if call.name == "member" else None
        assert await stage.deliver(change(1, ANN, BAD))
        assert [(letter.reason, letter.ids) for letter in stage.letters] == [("rejected_by_mailchimp", [BAD])]
        assert "could not be processed" in stage.letters[0].headers["detail"]

    run(main())


def test_lookups_run_side_by_side() -> None:
    async def main() -> None:
        stage = Stage([ANN], behaviour={"non_members": "errors"})
        assert await stage.deliver(change(1, *members(500)))
        assert stage.filtered("missing") == 500
        assert stage.clock.monotonic() < 6, "one after the other they would take 50 s"
        assert stage.mailchimp.most == 10

    run(main())
