"""The words of the console, as a table: what is known of a connection, and what a person reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.process_metrics import Hook, summed_up
from console.refusals import words
from console.status import NO_WORKER, Evidence, Kind, verdict
from listwire.metrics import Status

NOW = 1_000_000.0
WORKS = Evidence(last_event=NOW - 12, delivered_at=NOW - 12, worker=Status.CONNECTED)
NEW = Evidence(worker=Status.WAITING)
REFUSED = replace(
    WORKS, worker=None, refused_at=NOW - 60, delivered_at=NOW - 300, refusal="Amplitude says the API key is invalid"
)
SAID = "Refused: Amplitude says the API key is invalid"

TABLE = {
    "it delivers": (WORKS, Kind.GOOD, "Connected", ()),
    "it delivers, as Kafka alone tells": (replace(WORKS, worker=None), Kind.GOOD, "Connected", ()),
    "nothing ever came": (NEW, Kind.IDLE, "Waiting for the first event", ()),
    "nothing ever came and no worker runs": (replace(NEW, worker=None, working=False), Kind.IDLE, "Waiting for the first event", (NO_WORKER,)),
    "nothing came as far as was looked": (replace(NEW, looked_through=False), Kind.IDLE, "Looking for its last event", ()),
    "too much to look through": (replace(NEW, looked_through=False, gave_up=True), Kind.IDLE, "Waiting for an event", ("None among the newest records of its topic",)),
    "a record waits for 4 minutes": (replace(WORKS, oldest_waiting=NOW - 240), Kind.WARNING, "Behind by 4 min", ()),
    "a record waits for a moment": (replace(WORKS, oldest_waiting=NOW - 20), Kind.GOOD, "Connected", ()),
    "a record waits for a moment and no worker runs": (replace(WORKS, worker=None, oldest_waiting=NOW - 20, working=False), Kind.WARNING, "Behind by 20 s", (NO_WORKER,)),
    "a record waits and no worker runs": (replace(WORKS, worker=None, oldest_waiting=NOW - 240, working=False), Kind.WARNING, "Behind by 4 min", (NO_WORKER,)),
    "nothing waits and no worker runs": (replace(WORKS, worker=None, working=False), Kind.WARNING, NO_WORKER, ("Nothing waits",)),
    "the first event waits": (replace(NEW, last_event=NOW - 90, oldest_waiting=NOW - 90), Kind.WARNING, "Behind by 1 min", ()),
    "the vendor does not answer": (replace(WORKS, worker=Status.RETRYING, oldest_waiting=NOW - 240), Kind.WARNING, "Behind by 4 min", ("Amplitude does not answer; the worker tries again",)),
    "the vendor does not answer, for a moment": (replace(WORKS, worker=Status.RETRYING), Kind.WARNING, "Trying again", ("Amplitude does not answer; nothing is lost",)),
    "refused, as the letters tell": (REFUSED, Kind.BAD, SAID, ()),
    "refused, and nothing was ever delivered": (replace(REFUSED, delivered_at=None), Kind.BAD, SAID, ()),
    "refused, and no worker runs": (replace(REFUSED, working=False, oldest_waiting=NOW - 240), Kind.BAD, SAID, ("Behind by 4 min", NO_WORKER)),
    "refused, as the worker says": (replace(WORKS, worker=Status.REFUSED, refusal=REFUSED.refusal), Kind.BAD, SAID, ()),
    "refused, and nobody knows why yet": (replace(WORKS, worker=Status.REFUSED), Kind.BAD, "Refused: Amplitude does not accept the key", ()),
    "delivered after the refusal": (replace(REFUSED, delivered_at=NOW - 5), Kind.GOOD, "Connected", ()),
    "the worker says that it is accepted again": (replace(REFUSED, worker=Status.CONNECTED), Kind.GOOD, "Connected", ()),
    "one worker has not met the refusal that another has just written down": (replace(REFUSED, worker=Status.CONNECTED, refused_at=NOW - 5), Kind.BAD, SAID, ()),
    "a worker that is older than the refusal has not tried": (replace(REFUSED, worker=Status.WAITING, worker_since=NOW - 9000), Kind.BAD, SAID, ()),
    "a worker started since has not tried": (replace(REFUSED, worker=Status.WAITING, worker_since=NOW - 5), Kind.BAD, SAID, ("The worker was started since; the next event shows whether it is accepted now",)),
    "paused, whatever else": (replace(REFUSED, paused="a campaign", oldest_waiting=NOW - 240), Kind.WARNING, "Paused", ("By listwire pause: a campaign; its records become dead letters until it is resumed",)),
    "paused without a reason": (replace(WORKS, paused=""), Kind.WARNING, "Paused", ("By listwire pause; its records become dead letters until it is resumed",)),
    "its webhook is right": (replace(WORKS, hook=Hook.RIGHT), Kind.GOOD, "Connected", ()),
    "its webhook is gone": (replace(WORKS, hook=Hook.GONE), Kind.BAD, "Webhook gone: Mailchimp no longer sends here", ("`listwire hooks ensure --source newsletter` makes it again",)),
    "its webhook was changed": (replace(WORKS, hook=Hook.CHANGED), Kind.BAD, "Webhook changed: Mailchimp does not send what it should", ("`listwire hooks ensure --source newsletter` puts it right",)),
    "its webhook is gone, whatever else": (replace(REFUSED, hook=Hook.GONE, paused="", working=False), Kind.BAD, "Webhook gone: Mailchimp no longer sends here", ("`listwire hooks ensure --source newsletter` makes it again", NO_WORKER)),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_the_words_of(case: str) -> None:
    evidence, kind, said, notes = TABLE[case]
    found = verdict("sources.newsletter", evidence, NOW)
    assert (found.kind, found.words, found.notes) == (kind, said, notes)


def test_a_cohort_sync_speaks_of_mailchimp() -> None:
    found = verdict("cohort_syncs.vip", replace(WORKS, worker=Status.REFUSED), NOW)
    assert found.words == "Refused: Mailchimp does not accept the key"


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("amplitude answered 400: Invalid API key: [redacted]", "Amplitude says the API key is invalid"),
        ("amplitude answered 401: Unauthorized", "Amplitude says: Unauthorized"),
        ("amplitude answered 400: Missing request body (api_key)", "Amplitude says: Missing request body (api_key)"),
        ("amplitude answered 403: <html>Forbidden", "Amplitude does not accept the key"),
        ("amplitude answered 404: no body", "Amplitude does not accept the key"),
        (
            "mailchimp answered 401: Your API key may be invalid, or you've attempted to access the wrong datacenter.",
            "Mailchimp says the API key is invalid",
        ),
        (
            "mailchimp answered 403: The API key provided is linked to datacenter 'us6'",
            "Mailchimp says the key belongs to data centre us6",
        ),
        ("mailchimp answered 403: This account has been deactivated.", "Mailchimp says the account is disabled"),
        ("mailchimp answered 403: User Disabled", "Mailchimp says the account is disabled"),
        ("", "Amplitude does not accept the key"),
        ("something a newer version wrote", "Amplitude says: something a newer version wrote"),
    ],
)
def test_a_refusal_in_words_for_a_person(detail: str, said: str) -> None:
    assert words(detail, "sources.newsletter") == said


def test_a_long_refusal_is_cut() -> None:
    assert len(words("amplitude answered 401: " + "x" * 5000, "sources.newsletter")) < 250


def test_pages_of_processes_tell_who_needs_a_restart_and_which_webhooks_are_gone() -> None:
    ingress = "listwire_settings_stale 1.0\nlistwire_ingress_bytes_in_flight 0.0\n"
    worker = 'listwire_settings_stale 1.0\nlistwire_connection_status{connection="sources.a"} 1.0\n'
    exporter = (
        "listwire_settings_stale 0.0\nlistwire_exporter_up 1.0\n"
        'listwire_webhook_ok{source="a"} 1.0\nlistwire_webhook_ok{source="b"} 0.0\nlistwire_webhook_ok{source="c"} 0.0\n'
        'listwire_webhook_changed{source="a"} 0.0\nlistwire_webhook_changed{source="c"} 1.0\n'
    )
    found = summed_up([ingress, exporter, worker, "<html>", "{"])
    assert found.stale == ("worker", "ingress")
    assert found.hooks == {"a": Hook.RIGHT, "b": Hook.GONE, "c": Hook.CHANGED}
    assert summed_up([]).stale == ()
