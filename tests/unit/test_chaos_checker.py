"""The chaos run's judgement, without a run: the schedule replays, and each broken promise is found where it is the only one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from listwire import dead_letters, topics
from listwire.kafka_reader import Record
from sandbox.amplitude.journal import Entry
from sandbox.mailchimp.journal import TagChange
from tests.chaos.checker import Findings, allowed, check
from tests.chaos.evidence import Evidence, hook
from tests.chaos.load import change, user
from tests.chaos.report import Report, append
from tests.chaos.schedule import AMPLITUDE, DECKS, MAILCHIMP, schedule
from tests.webhook_bodies import AUDIENCE, webhook

MEMBERS = frozenset(f"member{number}@example.com" for number in range(5))


# The schedule ---------------------------------------------------------------------------------------------------------


def test_a_seed_replays_the_same_schedule() -> None:
    assert schedule(7, 5) == schedule(7, 5)
    assert schedule(7, 5) != schedule(8, 5)


def test_a_quarter_of_an_hour_meets_every_kind_of_action_on_processes_and_every_fault_of_both_vendors() -> None:
    planned = schedule(1, 15)
    kinds = {(action.what, action.whom.rpartition("-")[0] or action.whom) for action in planned}
    assert {(what, kind) for kind, deck in DECKS.items() for what in deck} <= kinds
    assert {("amplitude", name) for name in AMPLITUDE} | {("mailchimp", name) for name in MAILCHIMP} <= kinds
    assert all(0 <= action.at < 900 and action.seconds >= 0 for action in planned)
    assert planned == sorted(planned, key=lambda action: action.at)


# A kept promise, and what is changed in it ----------------------------------------------------------------------------

BODIES = [
    webhook(1, fired_at=f"2026-01-01 00:00:0{number}", kind="unsubscribe" if number % 2 else "subscribe")
    for number in range(4)
]
PROFILE = webhook(2, kind="profile")
FOREIGN = webhook(3, data_list_id="0123456789")
NOBODY: dict[str, Any] = {"user_id": "nobody", "user_properties": {}}
ENTER = change("c1", "Buyers", [user(f"member{n}@example.com") for n in range(3)], entered=True, message="1")
LEAVE = change("c1", "Buyers", [user("member0@example.com"), NOBODY], entered=False, message="2")


def record(offset: int, value: bytes, partition: int = 0, **headers: str) -> Record:
    return Record(partition, offset, 0, b"k", value, tuple((name, text.encode()) for name, text in headers.items()))


def letter(offset: int, value: bytes, topic: str, of: int, reason: str = "connection_refused") -> Record:
    return record(offset, value, origin=f"{topic}/0/{of}", reason=reason)


def entries(bodies: Sequence[bytes]) -> list[Entry]:
    read = [hook(body, AUDIENCE) for body in bodies]
    return [Entry(at, "app", h.insert_id, h.user_id, h.contact, 0, 0, None) for at, h in enumerate(read)]


def tags(*changes: tuple[list[int], list[int]]) -> list[TagChange]:
    def addresses(numbers: list[int]) -> list[str]:
        return [f"member{number}@example.com" for number in numbers]

    return [TagChange(0, "a", 1, "Buyers", addresses(added), addresses(removed)) for added, removed in changes]


NOBODYS_LETTER = letter(1, change("c1", "Buyers", [NOBODY], entered=False, message="2"), topics.COHORT_CHANGES, 1)
KEPT = Evidence(
    audience=AUDIENCE,
    members=MEMBERS,
    webhooks={1: BODIES, 2: [PROFILE], 3: [FOREIGN]},
    changes={"c1": [ENTER, LEAVE]},
    webhook_records=[record(offset, body) for offset, body in enumerate([*BODIES, PROFILE, FOREIGN])],
    change_records=[record(0, ENTER), record(1, LEAVE)],
    letters=[letter(0, FOREIGN, topics.WEBHOOKS, 5, "wrong_audience"), NOBODYS_LETTER],
    amplitude=entries(BODIES),
    mailchimp=tags(([0, 1, 2], []), ([], [0])),
    committed={("listwire-subscriptions", 0): (6, 6), ("listwire-cohorts", 0): (2, 2)},
    accounts={"w": {"sources.newsletter": {"received": 6, "delivered": 4, "filtered": 1, "dead_lettered": 1}}},
)


def broken(**changed: Any) -> dict[str, int]:
    findings = check(replace(KEPT, **changed))
    return {name: len(found) for name, found in findings.broken.items()}


def test_what_is_kept_is_found_to_be_kept() -> None:
    findings = check(KEPT)
    assert findings.broken == {}
    assert findings.counts["webhooks answered"] == 6
    assert findings.counts["events delivered"] == 4
    assert findings.counts["words"] == 4


def test_a_webhook_that_was_answered_and_not_stored_is_found() -> None:
    assert broken(webhook_records=KEPT.webhook_records[1:], amplitude=entries(BODIES[1:]))["never_stored"] == 1


def test_a_change_that_was_answered_and_not_stored_is_found() -> None:
    assert broken(changes={"c1": [ENTER, LEAVE, ENTER[:-1] + b" }"]}) == {"never_stored": 1}


@pytest.mark.parametrize("gone", range(4))
def test_an_event_that_is_nowhere_is_lost(gone: int) -> None:
    assert broken(amplitude=entries([body for number, body in enumerate(BODIES) if number != gone])) == {"lost": 1}


def test_an_event_that_is_a_dead_letter_is_not_lost() -> None:
    letters = [*KEPT.letters, letter(2, BODIES[2], topics.WEBHOOKS, 2)]
    assert broken(amplitude=entries([BODIES[0], BODIES[1], BODIES[3]]), letters=letters) == {}


def test_a_webhook_that_must_be_a_dead_letter_and_is_none_is_lost() -> None:
    assert broken(letters=[NOBODYS_LETTER]) == {"lost": 1}


def test_a_user_without_an_address_who_is_no_dead_letter_is_lost() -> None:
    assert broken(letters=KEPT.letters[:1]) == {"lost": 1}


def test_an_event_that_overtook_is_found_and_a_dead_letter_may_come_late() -> None:
    overtaken = entries([BODIES[1], BODIES[0], *BODIES[2:]])
    assert broken(amplitude=overtaken) == {"out_of_order": 1}
    assert broken(amplitude=overtaken, letters=[*KEPT.letters, letter(2, BODIES[0], topics.WEBHOOKS, 0)]) == {}


def test_an_event_that_counted_twice_is_found() -> None:
    assert broken(amplitude=[*entries(BODIES), entries(BODIES)[0]]) == {"counted_twice": 1}


def test_an_event_or_a_tag_that_nobody_asked_for_is_found() -> None:
    assert broken(amplitude=entries([*BODIES, webhook(9)])) == {"invented": 1}
    assert broken(mailchimp=tags(([0, 1, 2, 4], []), ([], [0]))) == {"invented": 1}


def test_a_letter_that_is_of_no_record_is_found() -> None:
    assert broken(letters=[*KEPT.letters, letter(2, BODIES[0], topics.WEBHOOKS, 1)]) == {"invented": 1}
    assert broken(letters=[*KEPT.letters, record(2, BODIES[0], reason="too_large")]) == {"invented": 1}


@pytest.mark.parametrize(
    "journal",
    [
        tags(([0, 1], []), ([], [0])),
        tags(([0, 1, 2], [])),
        tags(([0, 1, 2], []), ([], [0]), ([0], [])),
    ],
    ids=["somebody was not added", "somebody was not removed", "an older word came last"],
)
def test_a_tag_that_does_not_end_as_the_last_words_say_is_found(journal: list[TagChange]) -> None:
    assert broken(mailchimp=journal) == {"wrong_tags": 1}


def test_older_words_said_again_are_fine_when_the_newer_ones_follow() -> None:
    assert broken(mailchimp=tags(([0, 1, 2], []), ([], [0]), ([0], []), ([], [0]))) == {}


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        ([(True, False)], {True}),
        ([(True, False), (False, False)], {False}),
        ([(False, False), (True, True)], {True, False}),
        ([(True, True)], {True, False}),
        ([(False, True), (True, False)], {True}),
        ([(True, False), (True, True)], {True, False}),
        ([(False, False), (False, True)], {False}),
        ([(True, True), (True, False), (False, False)], {False}),
    ],
)
def test_only_the_last_word_may_stand_unless_it_is_a_dead_letter(
    words: list[tuple[bool, bool]], ends: set[bool]
) -> None:
    assert allowed(words) == ends


def endings(words: Sequence[bool]) -> dict[tuple[bool, ...], set[bool]]:
    """How the tag may end, by which of the words became dead letters: every way in which a worker takes these words, as deliveries of
    any length that are carried out, parked, or carried out and parked since no answer came.
    """
    found: dict[tuple[bool, ...], set[bool]] = {(): {False}}
    by_length = [found]
    for end in range(1, len(words) + 1):
        found = defaultdict(set)
        for begin in range(end):  # the last delivery holds the words from here on; only its last one is sent
            superseded = (False,) * (end - begin - 1)
            for buried, before in by_length[begin].items():
                found[(*buried, *superseded, False)].add(words[end - 1])
                found[(*buried, *superseded, True)] |= {*before, words[end - 1]}
        by_length.append(dict(found))
    return by_length[-1]


@pytest.mark.parametrize("length", range(1, 8))
def test_the_checker_allows_exactly_what_a_worker_can_end_in(length: int) -> None:
    """Neither more nor less: once it found 180 tags wrong where a newer word, parked, had superseded the one before."""
    for words in product([False, True], repeat=length):
        for buried, ends in endings(words).items():
            assert allowed(list(zip(words, buried, strict=True))) == ends, (words, buried)


def mark(of: Record) -> Record:
    """The replay's own: that letter is done."""
    found = dead_letters.read(of.key, of.value, of.headers, (0, 0))
    assert isinstance(found, dead_letters.Letter)
    return Record(0, 99, 0, b"k", None, ((topics.REPLAYED, found.id.encode()),))


def test_a_replayed_event_must_be_at_amplitude_and_may_be_late() -> None:
    dead = letter(2, BODIES[0], topics.WEBHOOKS, 0)
    records = [*KEPT.webhook_records, record(6, BODIES[0], replay_of="listwire.webhooks/0/0")]
    replayed = {"letters": [*KEPT.letters, dead, mark(dead)], "webhook_records": records}
    assert broken(**replayed, amplitude=entries([*BODIES[1:], BODIES[0]])) == {}
    assert broken(**replayed, amplitude=entries(BODIES[1:])) == {"lost": 1}


def test_a_replayed_word_must_stand_unless_something_later_was_said() -> None:
    part = change("c1", "Buyers", [user("member0@example.com")], entered=False, message="2")
    dead = letter(2, part, topics.COHORT_CHANGES, 1)
    records = [*KEPT.change_records, record(2, part, replay_of="listwire.cohort-changes/0/1")]
    replayed = {"letters": [*KEPT.letters, dead, mark(dead)], "change_records": records}
    never_sent = tags(([0, 1, 2], []))
    assert broken(letters=[*KEPT.letters, dead], mailchimp=never_sent) == {}
    assert broken(**replayed, mailchimp=never_sent) == {"wrong_tags": 1}
    assert broken(**replayed) == {}


def test_counters_that_do_not_balance_are_found() -> None:
    counted = {"received": 5.0, "delivered": 4.0}
    assert broken(accounts={"w": {"sources.newsletter": counted}}) == {"unbalanced": 1}
    assert broken(accounts={"w": {"s": {"received": 5.0, "delivered": 4.0, "in_flight": 1.0}}}) == {"unbalanced": 1}


def test_a_partition_that_is_not_drained_or_was_committed_beyond_its_end_is_found() -> None:
    assert broken(committed={("g", 0): (5, 6), ("g", 1): (7, 6), ("g", 2): (6, 6)}) == {"behind": 2}


def test_a_secret_in_the_output_of_a_process_is_found() -> None:
    assert broken(leaks=["a secret stands in cohorts-0-1.log"]) == {"leaked": 1}


# The report -----------------------------------------------------------------------------------------------------------


def test_a_broken_run_says_how_to_run_it_again_and_a_kept_one_does_not() -> None:
    report = Report(42, 0.5, findings=Findings(lost=["webhook 1"]), drained_after=1.0)
    assert not report.kept
    assert "make chaos MINUTES=0.5 SEED=42" in report.text()
    assert "1 lost" in report.text()
    kept = Report(42, 0.5, drained_after=1.0)
    assert kept.kept
    assert "make chaos" not in kept.text()


def test_a_run_that_never_drained_is_broken() -> None:
    assert not Report(1, 1).kept


def test_every_run_is_added_to_the_results(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for seed in (1, 2):
        report = Report(seed, 5, drained_after=0.5)
        report.note("ingress", "kill", in_flight=True)
        append(file, report)
    runs = json.loads(file.read_text())
    assert [run["seed"] for run in runs] == [1, 2]
    assert runs[0]["verdict"] == "kept"
    assert runs[0]["processes"] == {"ingress": {"kill": {"times": 1, "in_flight": 1}}}
