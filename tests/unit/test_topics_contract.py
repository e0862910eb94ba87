"""Names and limits that people outside build on. A change here is a change of the contract."""

from __future__ import annotations

from listwire import topics
from listwire.topics import BY_NAME, MIB, TOPICS

DAY = 24 * 3600 * 1000


def test_the_topics_are_those_of_the_contract() -> None:
    assert [(t.name, t.retention_ms / DAY) for t in TOPICS] == [
        ("listwire.webhooks", 7),
        ("listwire.cohort-changes", 30),
        ("listwire.dead-letters", 14),
    ]
    assert BY_NAME["listwire.cohort-changes"].config["max.message.bytes"] == str(9 * MIB)
    assert BY_NAME["listwire.dead-letters"].config["max.message.bytes"] == str(10 * MIB)
    assert topics.GROUPS == {
        "listwire-subscriptions": "listwire.webhooks",
        "listwire-cohorts": "listwire.cohort-changes",
    }


def test_the_headers_are_those_of_the_contract() -> None:
    assert (topics.SOURCE, topics.SYNC, topics.RECEIVED_AT, topics.REQUEST_ID) == (
        "source", "sync", "received_at", "request_id",
    )  # fmt: skip
    assert (topics.REASON, topics.DETAIL, topics.CONNECTION, topics.ORIGIN, topics.FAILED_AT) == (
        "reason", "detail", "connection", "origin", "failed_at",
    )  # fmt: skip
    assert (topics.REPLAYED, topics.REPLAY_OF) == ("replayed", "replay_of")


def test_no_topic_of_ours_is_compacted() -> None:
    assert {topic.config["cleanup.policy"] for topic in TOPICS} == {"delete"}


def test_a_topic_that_is_created_is_one_that_is_accepted() -> None:
    for topic in TOPICS:
        assert int(topic.config["max.message.bytes"]) >= topic.least_bytes
        assert topic.config["retention.ms"] == str(topic.retention_ms)


def test_an_accepted_body_always_fits_and_so_does_its_dead_letter() -> None:
    """Headers, key and the record's frame: 16 KiB is more than they can be."""
    room = 16 * 1024
    assert topics.MAX_WEBHOOK_BODY + room <= BY_NAME[topics.WEBHOOKS].least_bytes
    assert topics.MAX_COHORT_BODY + room <= BY_NAME[topics.COHORT_CHANGES].least_bytes
    largest = max(t.least_bytes for t in TOPICS if t.name != topics.DEAD_LETTERS)
    assert largest + room <= BY_NAME[topics.DEAD_LETTERS].least_bytes
    assert max(int(t.config["max.message.bytes"]) for t in TOPICS) < topics.MAX_REQUEST_SIZE
