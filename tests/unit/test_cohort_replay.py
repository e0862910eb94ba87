"""A replayed cohort change can't go back in time: it speaks only for users of whom nothing later was said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire.errors import VendorUnavailable
from stream.cohort_history import Hearing, Question
from tests.cohort_stage import Record, Stage, change, replay, user
from tests.mailchimp_in_memory import Trouble
from tests.virtual_time import run

ANN, BOB, EVE, DAN = "ann@example.com", "bob@example.com", "eve@example.com", "dan@example.com"
EVERYBODY = [ANN, BOB, EVE]


def staged(*past: Record, **more: Any) -> Stage:
    """A worker whose partition holds this."""
    return Stage(EVERYBODY, partition=list(past), **more)


@pytest.mark.parametrize(
    ("later", "goes_through"),
    [
        ([], True),
        ([change(5, ANN, entered=False)], False),
        ([change(5, "ANN@example.com ", entered=True)], False),
        ([change(5, BOB, entered=False)], True),
        ([change(5, ANN, cohort="c2", entered=False)], True),
        ([change(5, ANN, name="Renamed", entered=False)], False),
        ([change(5, ANN, sync="newsletter", entered=False)], False),
        ([change(5, ANN, sync="other", entered=False)], True),
        ([change(5, user("new@example.com", ANN), entered=False)], False),
        ([change(5, user(None, ANN), entered=False)], False),
        ([change(5, user("", 7), entered=False)], True),
        ([change(5, ANN, name="x" * 90, entered=False)], False),
        ([Record(5, b"\xff"), Record(6, None), change(7, 7, None, entered=False)], True),
        ([replay(5, 1, ANN, entered=False)], True),
        ([change(5, ANN, replay_of="listwire.webhooks/0/1", entered=False)], False),
        ([change(5, ANN, replay_of="nonsense", entered=False)], False),
        ([change(3, ANN, entered=False), change(2, ANN)], True),
        ([change(9, ANN, entered=False), change(10, ANN)], True),
    ],
)
def test_a_later_change_for_the_same_user_cohort_and_sync_wins(later: list[Record], goes_through: bool) -> None:
    """Offsets up to the origin (3) are no later words, nor are those from the replay (9) on."""

    async def main() -> None:
        stage = staged(change(3, ANN), *later)
        assert await stage.deliver(replay(9, 3, ANN))
        assert (ANN in stage.mailchimp.tagged()) is goes_through
        assert stage.filtered("out_of_date") == (not goes_through)
        assert stage.letters == []

    run(main())


def test_only_the_users_with_a_later_word_are_dropped() -> None:
    async def main() -> None:
        stage = staged(change(5, BOB, entered=False))
        assert await stage.deliver(replay(9, 3, ANN, BOB, BOB.upper(), EVE, "nowhere", 7))
        assert stage.mailchimp.tagged() == {ANN, EVE}
        assert stage.counted() == {"received": 6, "delivered": 2, "filtered": 2, "dead_lettered": 2}
        assert stage.filtered("out_of_date") == 2
        assert {letter.headers["origin"] for letter in stage.letters} == {"listwire.cohort-changes/0/3"}

    run(main())


def test_users_without_id_or_address_are_nobody_and_never_the_same_person() -> None:
    async def main() -> None:
        stage = staged(change(5, user("x@example.com", ""), {"user_id": None}, entered=False))
        assert await stage.deliver(replay(9, 3, user(ANN, ""), user(BOB, "")))
        assert stage.mailchimp.tagged() == {ANN, BOB}

    run(main())


def test_another_sync_s_replay_hears_only_its_own_words() -> None:
    async def main() -> None:
        stage = staged(
            change(5, ANN, sync="newsletter", entered=False),
            syncs={"newsletter": {}, "other": {"email_property": "mail"}},
        )
        assert await stage.deliver(replay(9, 3, {"user_id": ANN, "user_properties": {"mail": ANN}}, sync="other"))
        assert stage.mailchimp.tagged() == {ANN}
        assert [(hearing.sync, hearing.email_property) for hearing in stage.reads] == [("other", "mail")]

    run(main())


@pytest.mark.parametrize(
    "origin", ["listwire.cohort-changes/0/3", "listwire.cohort-changes/4/7", "listwire.cohort-changes/0/9"]
)
def test_without_its_origin_in_kafka_a_replay_is_skipped_and_counted_unless_forced(origin: str) -> None:
    async def main() -> None:
        stage = staged(change(5, BOB, entered=False), change(6, EVE, entered=False), oldest=6)
        assert await stage.deliver(replay(9, 3, ANN, BOB, EVE, replay_of=origin))
        assert (stage.mailchimp.tagged(), stage.letters) == (set(), [])
        assert stage.filtered("origin_gone") == 3
        assert await stage.deliver(replay(9, 3, ANN, BOB, EVE, replay_of=origin, replay_force=1))
        assert stage.mailchimp.tagged() == {ANN, BOB}, "what Kafka still knows of later words counts all the same"
        assert stage.filtered("out_of_date") == 1

    run(main())


def test_force_is_no_licence_to_go_back_in_time() -> None:
    async def main() -> None:
        stage = staged(change(3, ANN, BOB), change(5, ANN, entered=False))
        assert await stage.deliver(replay(9, 3, ANN, BOB, replay_force=1))
        assert stage.mailchimp.tagged() == {BOB}

    run(main())


@pytest.mark.parametrize("origins", [(1, 2), (2, 1)])
def test_two_replays_in_one_delivery_share_one_look_and_keep_their_own_order(origins: tuple[int, int]) -> None:
    async def main() -> None:
        live = change(7, ANN, EVE)
        stage = staged(change(1, ANN, BOB), change(2, ANN, EVE, DAN, entered=False), change(3, EVE), live)
        letters = {
            1: lambda offset: replay(offset, 1, ANN, BOB),
            2: lambda offset: replay(offset, 2, ANN, EVE, DAN, entered=False),
        }
        assert await stage.deliver(live, letters[origins[0]](8), letters[origins[1]](9))
        assert stage.mailchimp.tagged() == {ANN, BOB, EVE}
        assert stage.filtered("out_of_date") == 3
        assert [call.remove for call in stage.mailchimp.named("segment")] == [(DAN,)], "its own origin is no later word"
        assert len(stage.reads) == 1

    run(main())


def test_a_letter_of_a_part_of_a_message_speaks_for_that_part_and_a_second_replay_changes_nothing() -> None:
    async def main() -> None:
        stage = staged(change(3, ANN, BOB, EVE), change(5, BOB, entered=False), replay(6, 3, ANN, BOB))
        assert await stage.deliver(replay(9, 3, ANN, BOB))
        assert stage.mailchimp.tagged() == {ANN}
        assert await stage.deliver(replay(10, 3, ANN, BOB))
        assert stage.mailchimp.tagged() == {ANN}
        assert stage.counted() == {"received": 4, "delivered": 2, "filtered": 2}

    run(main())


def test_a_replay_that_fails_again_keeps_its_first_origin_and_only_who_is_left() -> None:
    async def main() -> None:
        stage = staged(change(5, BOB, entered=False))
        stage.mailchimp.trouble = lambda call: Trouble(400, '{"title": "No"}') if call.name == "segment" else None
        assert await stage.deliver(replay(9, 3, ANN, BOB))
        (letter,) = stage.letters
        assert (letter.headers["origin"], letter.ids) == ("listwire.cohort-changes/0/3", [ANN])
        assert "replay_of" not in letter.headers

    run(main())


def test_reading_the_past_is_tried_again_counts_as_moving_and_ends_when_the_lane_closes() -> None:
    async def main() -> None:
        stage = Stage([ANN])
        moved: list[float] = []
        faults = 5

        async def read_later(hearing: Hearing, questions: Any) -> None:
            nonlocal faults
            hearing.go_on()
            if faults:
                faults -= 1
                raise VendorUnavailable("kafka", 0, "no broker", cause="history")
            await asyncio.sleep(100)
            hearing.go_on()

        stage.courier.read_later = read_later
        stage.delivery.moved = lambda: moved.append(stage.clock.monotonic())
        assert await stage.deliver(replay(9, 3, ANN))
        assert len([moment for moment in moved if moment < 100]) > 5
        task = asyncio.ensure_future(stage.delivery([replay(10, 3, ANN)], stage.closing))
        await asyncio.sleep(50)
        stage.closing.set()
        assert await task is False

    run(main())


past_words = st.tuples(
    st.booleans(),
    st.lists(st.sampled_from(EVERYBODY), max_size=3),
    st.sampled_from(["c1", "c2"]),
    st.sampled_from([None, "newsletter", "other"]),
    st.booleans(),
)


@given(st.lists(past_words, max_size=12), st.integers(0, 11), st.sets(st.sampled_from(EVERYBODY), min_size=1))
def test_a_question_is_answered_as_by_looking_at_each_word(past: list[Any], origin: int, asked: set[str]) -> None:
    async def main() -> None:
        records, stale = [], set()
        for offset, (entered, people, cohort, sync, repeats) in enumerate(past):
            headers = {} if sync is None else {"sync": sync}
            made = replay if repeats else change
            records.append(
                made(offset, 0, *people, entered=entered, cohort=cohort, **headers)
                if repeats
                else made(offset, *people, entered=entered, cohort=cohort, **headers)
            )
            if offset > origin and cohort == "c1" and sync != "other" and not repeats:
                stale |= asked & set(people)
        stage = staged(*records)
        assert await stage.deliver(replay(20, origin, *sorted(asked)))
        assert stage.mailchimp.tagged() == asked - stale

    run(main())


def test_questions_are_answered_for_users_who_share_an_address() -> None:
    question = Question("c1", 3, 9)
    question.ask(0, ["address:a"])
    question.ask(1, ["address:a", "id:7"])
    question.hear("id:7")
    assert question.stale == {1}
    question.hear("address:a")
    assert question.stale == {0, 1}
