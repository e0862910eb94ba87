"""Who should carry a tag, told from the topic: the same people whom the worker's rules leave with it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire import topics
from listwire.cohorts.last_words import LastWords
from listwire.kafka_reader import Record
from listwire.settings.models import CohortSync

SYNC = CohortSync(mailchimp="acme", audience="a6b5da1054")


@dataclass
class Change:
    entered: bool
    cohort_name: str = "Power users"
    cohort_id: str = "7khm89cz"


def record(offset: int, partition: int = 0, timestamp: int = 0, **headers: str) -> Record:
    made = tuple((name, value.encode()) for name, value in headers.items())
    return Record(partition, offset, timestamp or offset + 1, b"7khm89cz", b"{}", made)


def words(sync: CohortSync = SYNC, name: str = "Power users") -> LastWords:
    return LastWords(name, "newsletter", sync)


def test_the_last_word_counts_by_offset() -> None:
    told = words()
    told.hear(record(1), Change(True), ["ann", "bob", None])
    told.hear(record(2), Change(False), ["ann"])
    told.hear(record(3), Change(True), ["eve"])
    assert set(told.carriers()) == {"bob", "eve"}
    assert (told.messages, told.without_address, told.cohort_ids) == (3, 1, {"7khm89cz"})


@pytest.mark.parametrize(
    ("headers", "cohorts", "name", "heard"),
    [
        ({}, ["*"], "Power users", True),
        ({"sync": "newsletter"}, ["*"], "Power users", True),
        ({"sync": "daily"}, ["*"], "Power users", False),
        ({}, ["Power*", "x"], "Power users", True),
        ({}, ["power*"], "Power users", False),
        ({"sync": "newsletter"}, ["x"], "Power users", False),
        ({}, ["*"], " POWER USERS", True),
        ({}, ["*"], "Powerusers", False),
    ],
)
def test_only_what_this_sync_hears_of_this_tag_counts(
    headers: dict[str, str], cohorts: list[str], name: str, heard: bool
) -> None:
    told = words(SYNC.model_copy(update={"cohorts": cohorts}))
    told.hear(record(1, **headers), Change(True, cohort_name=name), ["ann"])
    assert (set(told.carriers()) == {"ann"}) is heard
    assert bool(told.other_names) is (name == "Powerusers")


def test_a_replayed_change_does_not_go_back_in_time_even_where_it_is_forced() -> None:
    told = words()
    told.hear(record(1), Change(True), ["ann", "bob"])
    told.hear(record(2), Change(False), ["ann"])
    told.hear(record(3, replay_of="listwire.cohort-changes/0/1", sync="newsletter"), Change(True), ["ann", "bob"])
    assert set(told.carriers()) == {"bob"}
    told.hear(record(4, replay_of="listwire.cohort-changes/0/1", replay_force="1"), Change(True), ["ann"])
    assert set(told.carriers()) == {"bob"}


def test_a_replay_speaks_where_its_origin_is_no_longer_in_the_topic() -> None:
    told = words()
    told.hear(record(7, replay_of="listwire.cohort-changes/0/1"), Change(True), ["ann"])
    assert set(told.carriers()) == {"ann"}


@pytest.mark.parametrize("origin", ["3/1", "0/8", "0/900"])
def test_a_replay_whose_origin_is_of_another_partition_or_of_an_earlier_topic_is_skipped_unless_forced(
    origin: str,
) -> None:
    told = words()
    told.hear(record(5), Change(False), ["ann"])
    told.hear(record(7, replay_of=f"listwire.cohort-changes/{origin}"), Change(True), ["ann", "bob"])
    assert set(told.carriers()) == set()
    told.hear(record(8, replay_of=f"listwire.cohort-changes/{origin}", replay_force="1"), Change(True), ["ann", "bob"])
    assert set(told.carriers()) == {"bob"}


@pytest.mark.parametrize("origin", ["", "nonsense", "listwire.webhooks/0/1", "listwire.cohort-changes/0/x"])
def test_a_replay_of_nothing_is_a_change_like_any_other(origin: str) -> None:
    told = words()
    told.hear(record(1), Change(False), ["ann"])
    told.hear(record(2, replay_of=origin), Change(True), ["ann"])
    assert set(told.carriers()) == {"ann"}


def test_of_two_cohorts_of_one_name_kafka_s_time_stamps_tell_who_spoke_last() -> None:
    told = words()
    told.hear(record(900, partition=0, timestamp=50), Change(True, cohort_id="one"), ["ann", "bob"])
    told.hear(record(3, partition=1, timestamp=60), Change(False, cohort_id="two"), ["ann"])
    told.hear(record(4, partition=1, timestamp=40), Change(False, cohort_id="two"), ["bob"])
    assert set(told.carriers()) == {"bob"}
    assert told.cohort_ids == {"one", "two"}


PEOPLE = ["ann", "bob", "eve"]
original = st.tuples(st.booleans(), st.sets(st.sampled_from(PEOPLE), min_size=1), st.booleans())


@given(st.lists(original, max_size=8), st.randoms(use_true_random=False))
def test_when_all_dead_letters_are_replayed_the_worker_leaves_the_tag_on_just_these_people(
    originals: list[tuple[bool, set[str], bool]], random: object
) -> None:
    """The worker's rule, written down a second way: a replay drops whoever was spoken of after its origin."""
    told, tagged, log, dead = words(), set(), [], []
    todo = list(originals)
    while todo or dead:
        offset = len(log)
        replayed = dead and (not todo or random.random() < 0.4)  # type: ignore[attr-defined]
        if replayed:
            origin = dead.pop(random.randrange(len(dead)))  # type: ignore[attr-defined]
            entered, people, _ = log[origin]
            later = set().union(*(p for e, p, is_replay in log[origin + 1 :] if not is_replay))
            applied = people - later
            log.append((entered, people, True))
            told.hear(
                record(offset, **{topics.REPLAY_OF: f"{topics.COHORT_CHANGES}/0/{origin}"}),
                Change(entered),
                sorted(people),
            )
        else:
            entered, people, dies = todo.pop(0)
            applied = set() if dies else people
            if dies:
                dead.append(offset)
            log.append((entered, people, False))
            told.hear(record(offset), Change(entered), sorted(people))
        tagged = tagged | applied if entered else tagged - applied
    assert set(told.carriers()) == tagged
