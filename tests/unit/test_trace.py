"""What a trace tells of one address, from records alone."""

from __future__ import annotations

import orjson
import pytest

from listwire import glimpse, topics
from listwire.kafka_reader import Record
from listwire.logs import address_hash
from listwire.records import Reason
from listwire.settings import Settings
from listwire.trace import MOST, Outcome, Trace, Tracer, Who
from tests.unit.letters import letter, mark_of, record_of
from tests.webhook_bodies import PROFILE, SUBSCRIBE, UPEMAIL, webhook

ADA = "ada.lovelace@example.com"
SETTINGS = Settings(
    amplitude={"product": {"api_key": "k" * 32}},
    mailchimp={"acme": {"api_key": "x-us6"}},
    sources={"newsletter": {"audience": "f1243a3b12", "amplitude": "product", "secrets": ["s" * 20]}},
    cohort_syncs={
        "newsletter": {"mailchimp": "acme", "audience": "f1243a3b12"},
        "vip": {"mailchimp": "acme", "audience": "f1243a3b12", "cohorts": ["VIP*"], "email_property": "mail"},
    },
)


def arrived(value: bytes, offset: int = 0, at: int = 1000, partition: int = 0, **headers: str) -> Record:
    given = {"source": "newsletter", "received_at": str(at), **headers}
    return Record(partition, offset, at, None, value, tuple((k, v.encode()) for k, v in given.items()))


def changed(offset: int, *, entered: bool = True, name: str = "Power users", at: int = 1000, **more: str) -> Record:
    users = [{"user_id": "u1", "user_properties": {"email": ADA.upper()}}, {"user_id": "u2"}, "no user"]
    body = orjson.dumps({"cohort_id": "c1", "cohort_name": name, "in_cohort": entered, "users": users})
    headers = {"received_at": str(at), **more}
    return Record(0, offset, at, b"c1", body, tuple((k, v.encode()) for k, v in headers.items()))


def traced(*records: tuple[str, Record], committed: int = 100, who: str = ADA) -> Trace:
    tracer = Tracer(Who(who), SETTINGS)
    for topic, record in records:
        tracer.add(topic, record)
    return tracer.result({(topic, 0): committed for topic in topics.GROUPS.values()})


def test_a_webhook_before_the_committed_offset_was_sent() -> None:
    (step,) = traced((topics.WEBHOOKS, arrived(SUBSCRIBE))).steps
    assert (step.what, step.outcome, step.connection) == ("webhook: subscribe", Outcome.DELIVERED, "sources.newsletter")
    assert "[Mailchimp] subscribe" in step.words
    assert step.at == 1000


def test_a_webhook_at_the_committed_offset_waits() -> None:
    (step,) = traced((topics.WEBHOOKS, arrived(SUBSCRIBE, offset=7)), committed=7).steps
    assert step.outcome is Outcome.WAITING


def test_where_nothing_was_ever_committed_all_waits() -> None:
    tracer = Tracer(Who(ADA), SETTINGS)
    tracer.add(topics.WEBHOOKS, arrived(SUBSCRIBE))
    assert tracer.result({}).steps[0].outcome is Outcome.WAITING


@pytest.mark.parametrize(("body", "who"), [(PROFILE, "ada@example.com"), (UPEMAIL, "ada@example.org")])
def test_types_that_are_no_events_are_filtered(body: bytes, who: str) -> None:
    (step,) = traced((topics.WEBHOOKS, arrived(body)), who=who).steps
    assert step.outcome is Outcome.FILTERED


def test_a_webhook_that_a_backfill_wrote_says_so() -> None:
    (step,) = traced((topics.WEBHOOKS, arrived(SUBSCRIBE, backfilled="1000"))).steps
    assert step.what == "webhook: subscribe, backfilled"


def test_a_hash_from_a_log_finds_the_same_records_as_the_address() -> None:
    records = [(topics.WEBHOOKS, arrived(SUBSCRIBE)), (topics.COHORT_CHANGES, changed(0))]
    assert traced(*records, who=address_hash(ADA)).steps == traced(*records).steps


@pytest.mark.parametrize("other", ["lovelace@example.com", "ada.lovelace@example.co", "xada.lovelace@example.com"])
def test_an_address_that_only_looks_alike_is_somebody_else(other: str) -> None:
    assert traced((topics.WEBHOOKS, arrived(SUBSCRIBE)), (topics.COHORT_CHANGES, changed(0)), who=other).steps == []


def test_an_address_with_a_plus_is_found_in_its_escaped_form() -> None:
    body = webhook(1, data_email="Josh+news@example.com")
    assert b"josh+news" not in body.lower()
    assert len(traced((topics.WEBHOOKS, arrived(body)), who="josh+news@example.com").steps) == 1


def test_a_cohort_change_is_a_step_for_each_sync_that_takes_it_and_the_last_word_is_the_tag() -> None:
    trace = traced(
        (topics.COHORT_CHANGES, changed(0, at=1000)), (topics.COHORT_CHANGES, changed(1, entered=False, at=2000))
    )
    assert [step.what for step in trace.steps] == ["entered cohort Power users", "left cohort Power users"]
    (tag,) = trace.tags
    assert (tag.connection, tag.name, tag.on, tag.at) == ("cohort_syncs.newsletter", "Power users", False, 2000)


def test_a_sync_that_reads_another_property_does_not_tag_the_address() -> None:
    trace = traced((topics.COHORT_CHANGES, changed(0, name="VIP gold")))
    assert {step.connection: step.outcome for step in trace.steps} == {
        "cohort_syncs.newsletter": Outcome.DELIVERED,
        "cohort_syncs.vip": Outcome.FILTERED,
    }
    assert [tag.connection for tag in trace.tags] == ["cohort_syncs.newsletter"]


def test_a_change_for_a_sync_that_is_not_in_the_settings_is_shown_as_taken_by_nobody() -> None:
    (step,) = traced((topics.COHORT_CHANGES, changed(0, sync="gone"))).steps
    assert (step.connection, step.outcome) == ("cohort_syncs.gone", Outcome.FILTERED)


def test_a_record_that_became_a_dead_letter_says_so_and_the_letter_is_a_step_of_its_own() -> None:
    dead = letter("listwire.webhooks/0/3", SUBSCRIBE, failed_at=5000, detail="amplitude answered 400: Invalid API key")
    trace = traced((topics.WEBHOOKS, arrived(SUBSCRIBE, 3)), (topics.DEAD_LETTERS, record_of(dead, 1, 0)))
    assert [step.outcome for step in trace.steps] == [Outcome.DEAD, Outcome.DEAD]
    assert trace.steps[1].letter == dead.id
    assert trace.steps[1].words == dead.detail


def test_a_replayed_letter_is_done_and_one_that_failed_again_is_open() -> None:
    dead = letter("listwire.webhooks/0/3", SUBSCRIBE)
    marked = [(topics.DEAD_LETTERS, record_of(dead, 1, 0)), (topics.DEAD_LETTERS, mark_of(dead.id, 1, 1))]
    assert traced(*marked).steps[0].outcome is Outcome.DONE
    assert traced(*marked, (topics.DEAD_LETTERS, record_of(dead, 1, 2))).steps[0].outcome is Outcome.DEAD


def test_a_letter_of_another_connection_does_not_speak_for_this_one() -> None:
    change = changed(0, name="VIP gold")
    dead = letter(
        "listwire.cohort-changes/0/0", change.value or b"", connection="cohort_syncs.vip",
        reason=Reason.NO_USABLE_ADDRESS, headers=(),
    )  # fmt: skip
    trace = traced((topics.COHORT_CHANGES, change), (topics.DEAD_LETTERS, record_of(dead, 0, 0)))
    assert [step.outcome for step in trace.steps if step.connection == "cohort_syncs.newsletter"] == [Outcome.DELIVERED]


def test_an_unreadable_letter_that_names_the_address_is_found_by_its_text() -> None:
    dead = letter(value=b"nonsense with Ada.Lovelace@example.com in it", reason=Reason.UNDECODABLE)
    assert len(traced((topics.DEAD_LETTERS, record_of(dead, 0, 0))).steps) == 1


def test_what_cannot_be_read_is_passed_over() -> None:
    unreadable = Record(0, 5, -1, None, None, (), readable=False)
    garbage = arrived(b"ada.lovelace@example.com \xff\xfe")
    trace = traced(
        (topics.WEBHOOKS, unreadable), (topics.WEBHOOKS, garbage), (topics.COHORT_CHANGES, garbage),
        (topics.WEBHOOKS, Record(0, 6, 1, None, None, ())),
    )  # fmt: skip
    assert (trace.steps, trace.read) == ([], 4)


def test_only_the_newest_records_are_kept_and_the_others_counted() -> None:
    trace = traced(*((topics.WEBHOOKS, arrived(SUBSCRIBE, offset=i, at=i)) for i in range(MOST + 5)), committed=10**6)
    assert len(trace.steps) == MOST
    assert trace.left_out == 5
    assert trace.steps[0].at == 5


def test_steps_stand_in_the_order_of_time_whatever_the_partition() -> None:
    trace = traced(
        (topics.WEBHOOKS, arrived(SUBSCRIBE, at=3000)), (topics.WEBHOOKS, arrived(SUBSCRIBE, at=1000, partition=1))
    )
    assert [step.at for step in trace.steps] == [1000, 3000]


@pytest.mark.parametrize("value", [None, b"", b"=", b"\xff=\xff", b"{}", b"[1]", b'{"cohort_id": 1}', b"[" * 100_000])
def test_a_glimpse_of_anything_never_raises(value: bytes | None) -> None:
    glimpse.webhook(value)
    glimpse.change(value)


def test_too_many_fields_are_no_webhook_worth_a_glimpse() -> None:
    assert glimpse.webhook(b"&".join(b"f%d=1" % i for i in range(20_000))) is None
