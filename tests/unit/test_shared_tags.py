"""Cohorts that write one tag are told of while they do, and no longer."""

from __future__ import annotations

import itertools

import pytest
from prometheus_client import REGISTRY

from listwire import metrics
from stream.shared_tags import MOST, SharedTags
from stream.tag_ids import Tag

_numbers = itertools.count()
VIP, CLUB = Tag("audience", "VIP"), Tag("audience", "Club")


@pytest.fixture
def shared() -> SharedTags:
    return SharedTags(f"cohort_syncs.shared-{next(_numbers)}")


def shown(shared: SharedTags) -> float:
    return REGISTRY.get_sample_value(metrics.SHARED_TAGS.name, {"connection": shared.connection}) or 0.0


def test_two_cohorts_of_one_name_are_two_and_a_third_makes_three(shared: SharedTags) -> None:
    for cohort, wanted in (("a", 0), ("a", 0), ("b", 2), ("c", 3), ("b", 3)):
        shared.note(Tag("audience", " vip"), cohort)
        assert (shared.shared, shown(shared)) == (wanted, wanted)


def test_a_cohort_that_is_renamed_shares_no_longer(shared: SharedTags) -> None:
    shared.note(VIP, "a")
    shared.note(VIP, "b")
    shared.note(CLUB, "b")
    assert shown(shared) == 0
    shared.note(CLUB, "a")
    assert shown(shared) == 2
    shared.note(VIP, "c")
    assert shown(shared) == 2


def test_a_former_name_in_a_replay_or_on_the_way_out_is_no_new_name(shared: SharedTags) -> None:
    shared.note(VIP, "a")
    shared.note(CLUB, "b")
    shared.note(VIP, "b", current=False)
    assert shown(shared) == 0
    shared.note(CLUB, "c", current=False)
    assert shown(shared) == 2, "whoever takes the tag away shares it too, where no other name is known"


def test_of_one_name_so_many_are_remembered_and_a_place_becomes_free_again(shared: SharedTags) -> None:
    for number in range(MOST + 30):
        shared.note(VIP, f"c{number}")
    assert shown(shared) == MOST
    shared.note(CLUB, "c0")
    assert shown(shared) == MOST - 1
    shared.note(VIP, "late")
    shared.note(VIP, "later still")
    assert shown(shared) == MOST
