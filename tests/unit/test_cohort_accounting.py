"""Whatever is published and whatever Mailchimp answers: each user of each sync has one outcome, and the tags end as the last
words say.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from listwire.settings.models import Delivery as Limits
from tests.cohort_stage import Record, Stage, change, user
from tests.mailchimp_in_memory import Call, Trouble, problem
from tests.virtual_time import run

MEMBERS = [f"m{number}@example.com" for number in range(6)]
STRANGERS = ["stranger@example.com", "nobody@example.com"]
CULPRIT = "culprit@example.com"
SYNCS: dict[str, dict[str, Any]] = {
    "first": {"cohorts": ["*"]},
    "second": {"cohorts": ["tag*"], "email_property": "mail"},
}
# A refused key between two time-outs is no reason to park, here.
PATIENT = Limits(park_after=100_000)
# Names of two tags, and one that only the first sync hears.
NAMES = ["tag a", "tag A ", "tag b", "other"]

addresses = st.sampled_from([*MEMBERS, *(each.upper() for each in MEMBERS), *STRANGERS, CULPRIT])
people = addresses.map(lambda each: {"user_id": each, "user_properties": {"email": each, "mail": each}})
odd_people = st.sampled_from(
    [7, None, {}, user("nowhere"), user(None, "x"), user(" "), {"user_id": 1.5}, user(MEMBERS[0])]
)
changes = st.tuples(st.sampled_from(NAMES), st.booleans(), st.lists(people | odd_people, max_size=6))
unreadable = st.sampled_from([None, b"", b"{", b'{"cohort_id": "c"}'])
troubles = st.sampled_from(
    [
        None,
        Trouble(502),
        Trouble(502, done=True),
        Trouble(hang=True),
        Trouble(hang=True, done=True),
        Trouble(403, ""),
        Trouble(200, "[]", done=True),
        problem("TooManyRequests"),
        problem("APIKeyInvalid"),
        "deleted by hand",
    ]
)


def records_of(published: list[Any]) -> list[Record]:
    found = []
    for offset, each in enumerate(published):
        record = change(offset)
        if isinstance(each, tuple):
            name, entered, users = each
            record = change(offset, *users, name=name, entered=entered)
        found.append(replace(record, value=each) if each is None or isinstance(each, bytes) else record)
    return found


def steer(stage: Stage, plan: list[Any]) -> None:
    """One trouble a call, until they are used up; the culprit is refused for ever."""
    coming: Iterator[Any] = iter(plan)

    def trouble(call: Call) -> Trouble | None:
        wrong = next(coming, None)
        if wrong == "deleted by hand":
            for segment in list(stage.mailchimp.audience.segments.values()):
                if not segment.members:  # else what was settled before would be gone with it
                    stage.mailchimp.account.tags.delete(stage.mailchimp.audience, segment, "")
            wrong = None
        if (wrong is None or wrong.done) and call.name == "segment" and CULPRIT in call.addresses:
            return Trouble(400, '{"title": "Invalid Resource", "detail": "Please provide a valid email address."}')
        return wrong

    stage.mailchimp.trouble = trouble


def last_words(published: list[Any], email_property: str, names: list[str]) -> dict[str, set[str]]:
    tags: dict[str, dict[str, bool]] = {"tag a": {}, "tag b": {}, "other": {}}
    for each in published:
        if not isinstance(each, tuple) or each[0] not in names:
            continue
        for person in each[2]:
            properties = person.get("user_properties") if isinstance(person, dict) else None
            address = str((properties or {}).get(email_property)).lower()
            if address in MEMBERS and not isinstance(person.get("user_id"), float):
                tags[each[0].strip().lower()][address] = each[1]
    return {name: {address for address, entered in words.items() if entered} for name, words in tags.items()}


def users_of(published: list[Any], names: list[str]) -> int:
    return sum(len(each[2]) for each in published if isinstance(each, tuple) and each[0] in names)


@settings(max_examples=150)
@given(
    published=st.lists(changes | unreadable, min_size=1, max_size=8),
    plan=st.lists(troubles, max_size=12),
    sizes=st.lists(st.integers(1, 4), min_size=8, max_size=8),
    non_members=st.sampled_from(["ignored", "errors"]),
    repeats=st.sampled_from(["silent", "added", "errors"]),
)
@example(
    [("tag a", True, [user(7), {"user_id": "a", "user_properties": {"email": CULPRIT}}])],
    [],
    [1] * 8,
    "errors",
    "errors",
)
def test_each_user_of_each_sync_has_one_outcome_and_the_tags_follow_the_last_words(
    published: list[Any], plan: list[Any], sizes: list[int], non_members: str, repeats: str
) -> None:
    async def main() -> None:
        behaviour = {"non_members": non_members, "repeats": repeats}
        stage = Stage([*MEMBERS, CULPRIT], SYNCS, PATIENT, behaviour=behaviour, connections=3)
        # Each sync has an audience of its own, so that what one of them does cannot hide what the other does not.
        second = stage.mailchimp.account.add_audience("second", "Second")
        for address in (*MEMBERS, CULPRIT):
            second.add_member(address, "subscribed", 0)
        courier = stage.couriers["second"]
        courier.sync = courier.sync.model_copy(update={"audience": "second"})
        steer(stage, plan)
        waiting = records_of(published)
        for size in sizes:
            batch, waiting = waiting[:size], waiting[size:]
            assert await stage.deliver(*batch)
        heard = {"first": NAMES, "second": NAMES[:3]}
        for name, audience in (("first", stage.mailchimp.audience), ("second", second)):
            assert stage.counted(name)["received"] == users_of(published, heard[name])
            expected = last_words(published, stage.couriers[name].sync.email_property, heard[name])
            assert {tag: audience.tagged(tag) for tag in expected} == expected
            letters = [letter for letter in stage.letters if letter.headers["connection"] == f"cohort_syncs.{name}"]
            assert stage.counted(name)["dead_lettered"] == sum(len(letter.ids) for letter in letters)
            assert not any(letter.reason == "connection_refused" for letter in letters)
        assert stage.mailchimp.most <= 3
        assert (stage.limit.in_use, stage.mailchimp.under_way) == (0, 0)

    run(main())


@settings(max_examples=80)
@given(
    published=st.lists(changes, min_size=1, max_size=6),
    plan=st.lists(troubles, max_size=6),
    moments=st.lists(st.floats(0, 40), max_size=4),
)
def test_however_often_a_lane_closes_in_the_middle_the_tags_end_as_the_last_words_say(
    published: list[Any], plan: list[Any], moments: list[float]
) -> None:
    async def main() -> None:
        stage = Stage([*MEMBERS, CULPRIT], limits=PATIENT)
        steer(stage, plan)
        records = records_of(published)
        for moment in moments:
            closing = asyncio.Event()
            task = asyncio.ensure_future(stage.deliver(*records, closing=closing))
            await asyncio.sleep(moment)
            closing.set()
            await task
        assert await stage.deliver(*records)
        expected = last_words(published, "email", NAMES)
        assert {tag: stage.mailchimp.tagged(tag) for tag in expected} == expected
        once = Counter(json.dumps([letter.headers["origin"], letter.reason, letter.ids]) for letter in stage.letters)
        assert set(once.values()) <= set(range(1, len(moments) + 2))
        assert stage.limit.in_use == 0

    run(main())
