"""A cohort against its tag: the differences, carried out as the worker does, make the tag right, in the fewest calls there can be."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listwire.cohorts import messages
from listwire.cohorts.differences import Differences, GuardRefused, Standing, chosen, compare, guard
from listwire.cohorts.members import Member
from listwire.cohorts.messages import Cohort, Message, pairs
from listwire.errors import ListwireError
from tests.cohort_stage import Record, Stage
from tests.mailchimp_in_memory import TAG
from tests.virtual_time import run

COHORT = Cohort("c1", "Power users")
PEOPLE = [f"member{number}@example.com" for number in range(40)]
somebody = st.sets(st.sampled_from(PEOPLE))


def as_members(addresses: list[str]) -> list[Member]:
    return [Member(address, None, 0) for address in addresses]


def paired(found: Differences) -> list[list[Message]]:
    made = pairs(COHORT, as_members(found.enter), as_members(found.leave), run_id="r", computed_at=1)
    return [list(pair) for pair in made]


def carried_out(tag: set[str], groups: list[list[Message]], size: int) -> tuple[set[str], int]:
    """What one delivery of the worker makes of these messages: the tag, and how many calls that took."""
    words = {
        user["user_properties"]["email"]: json.loads(message.value)["in_cohort"]
        for group in groups
        for message in group
        for user in json.loads(message.value)["users"]
    }
    add, remove = ({address for address, entered in words.items() if entered is way} for way in (True, False))
    return (tag | add) - remove, -(-max(len(add), len(remove)) // size)


@settings(deadline=None)
@given(st.data(), somebody, somebody, somebody, st.integers(1, 7))
def test_the_tag_becomes_the_cohort_within_the_audience_in_the_fewest_calls(
    data: st.DataObject, audience: set[str], cohort: set[str], carriers: set[str], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # So that few people fill many calls.
        patch.setattr(messages, "TAG_CALL", size)
        tag = carriers & audience
        found = compare(cohort, Standing(tag, cohort & audience))
        groups = paired(found)
    assert (found.absent, found.carriers) == (len(cohort - audience), len(tag))
    # The worker takes what waits: it may cut between any two groups, never within one.
    calls, rest = 0, groups
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        tag, more = carried_out(tag, rest[:cut], size)
        calls, rest = calls + more, rest[cut:]
    assert tag == cohort & audience
    assert calls == -(-max(len(found.enter), len(found.leave)) // size)
    again = compare(cohort, Standing(tag, cohort & audience))
    assert (again.enter, again.leave, paired(again)) == ([], [], [])


def test_five_hundred_leave_beside_five_hundred_who_enter() -> None:
    enter, leave = [f"in{n}@example.com" for n in range(1200)], [f"out{n}@example.com" for n in range(700)]
    found = Differences(enter, leave, 0, 700)
    sizes = [[(message.entered, message.users) for message in group] for group in paired(found)]
    assert sizes == [[(False, 500), (True, 500)], [(False, 200), (True, 500)], [(True, 200)]]
    assert found.calls == 3


def test_who_carries_the_tag_needs_no_look_at_the_audience() -> None:
    found = compare({"a@example.com"}, Standing({"a@example.com", "b@example.com"}, set()))
    assert (found.enter, found.leave, found.absent) == ([], ["b@example.com"], 0)


@given(st.integers(1, 200), st.integers(0, 200), st.floats(0, 1))
def test_the_guard_refuses_exactly_what_is_above_the_share(carriers: int, leaving: int, share: float) -> None:
    leaving = min(leaving, carriers)
    found = Differences([], [f"{n}@example.com" for n in range(leaving)], 0, carriers)
    if leaving > share * carriers:
        with pytest.raises(GuardRefused, match="would lose it"):
            guard(found, {"a@example.com"}, share)
    else:
        guard(found, {"a@example.com"}, share)


def test_an_empty_cohort_never_empties_a_tag_whatever_the_share() -> None:
    with pytest.raises(GuardRefused, match="nobody with an address, and the tag has 1 member"):
        guard(Differences([], ["a@example.com"], 0, 1), set(), 1.0)
    guard(Differences([], [], 0, 0), set(), 0.0)


@dataclass
class Listed:
    id: str
    name: str
    archived: bool = False


LISTED = [Listed("c1", "Power users"), Listed("c2", "power users"), Listed("c3", "Trial"), Listed("c4", "Old", True)]


def test_a_cohort_is_found_by_its_id_or_name() -> None:
    assert chosen(LISTED, "c2").id == "c2"
    assert chosen(LISTED, "Power users").id == "c1"
    assert chosen(LISTED, " TRIAL ").id == "c3"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("POWER USERS", r"2 cohorts .* name one by its id: c1 \('Power users'\), c2 \('power users'\)"),
        ("Trail", r"no cohort 'Trail', by name or id; there is 'Trial' \(c3\)"),
        ("zzz", r"there is 'power users' \(c2\), 'Trial' \(c3\)\."),
        ("Old", r"'Old' \(c4\) is archived"),
    ],
)
def test_a_cohort_that_cannot_be_told_is_an_error_with_the_near_ones(wanted: str, words: str) -> None:
    with pytest.raises(ListwireError, match=words):
        chosen(LISTED, wanted)
    with pytest.raises(ListwireError, match="the project has none"):
        chosen([], wanted)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 600))
def test_the_worker_itself_makes_the_tag_right_in_the_fewest_calls(
    data: st.DataObject, entering: int, leaving: int, staying: int
) -> None:
    """The real courier and its calls of 500, however the topic is cut into deliveries."""
    everybody = [f"member{number}@example.com" for number in range(entering + leaving + staying)]
    new, old, both = everybody[:entering], everybody[entering : entering + leaving], everybody[entering + leaving :]
    cohort, strangers = {*new, *both}, {"stranger@example.com"}

    async def main() -> None:
        stage = Stage(members=everybody)
        tags, audience = stage.mailchimp.account.tags, stage.mailchimp.audience
        tags.create(audience, TAG, [*old, *both], "hand")
        found = compare(cohort | strangers, Standing(stage.mailchimp.tagged(), set(new)))
        groups = paired(found)
        offset = 0
        while groups:
            cut = data.draw(st.integers(1, len(groups)))
            delivery = [
                Record(number, message.value, [("sync", b"newsletter")])
                for number, message in enumerate((m for group in groups[:cut] for m in group), offset)
            ]
            offset, groups = offset + len(delivery), groups[cut:]
            assert await stage.deliver(*delivery)
        assert stage.mailchimp.tagged() == cohort
        assert len(stage.mailchimp.named("segment")) == found.calls == -(-max(entering, leaving) // 500)
        assert stage.letters == []

    run(main())
