"""The one list of topics, and the names of the headers their records carry. A contract with everybody who reads or writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

WEBHOOKS: Final = "listwire.webhooks"
COHORT_CHANGES: Final = "listwire.cohort-changes"
DEAD_LETTERS: Final = "listwire.dead-letters"
# What an operator wants, for all processes to see: key a connection, value why and since when it is paused. Compacted.
CONTROL: Final = "listwire.control"

# Headers; every value is UTF-8, times are milliseconds since the epoch in ASCII digits.
SOURCE: Final = "source"
SYNC: Final = "sync"
RECEIVED_AT: Final = "received_at"
REQUEST_ID: Final = "request_id"
REASON: Final = "reason"
DETAIL: Final = "detail"
CONNECTION: Final = "connection"
ORIGIN: Final = "origin"
FAILED_AT: Final = "failed_at"
REPLAYED: Final = "replayed"  # on a record without a value: the letter of that identity is done
REPLAY_OF: Final = "replay_of"  # on a record produced again: the origin of its letter
REPLAY_FORCE: Final = "replay_force"  # beside it: go on even where the origin is no longer in Kafka
BACKFILLED: Final = "backfilled"  # on a webhook that never arrived: when `listwire backfill` wrote it

SUBSCRIPTIONS_GROUP: Final = "listwire-subscriptions"
COHORTS_GROUP: Final = "listwire-cohorts"

DAY_MS: Final = 86_400_000
MIB: Final = 1 << 20

# What may enter: the ingress refuses more with 413.
MAX_WEBHOOK_BODY: Final = 64 * 1024
MAX_COHORT_BODY: Final = 8 * MIB
# Above every topic's own limit, so that a producer of ours never refuses what a topic would take.
MAX_REQUEST_SIZE: Final = 11 * MIB


@dataclass(frozen=True)
class Topic:
    """`least_bytes` is the smallest `max.message.bytes` with which an accepted record, headers included, always fits."""

    name: str
    retention_ms: int
    least_bytes: int
    group: str | None = None
    config: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None  # None: as the settings say


TOPICS: Final = (
    Topic(
        WEBHOOKS, 7 * DAY_MS, MAX_WEBHOOK_BODY + 16 * 1024, SUBSCRIPTIONS_GROUP,
        {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "max.message.bytes": str(MIB)},
    ),
    Topic(
        COHORT_CHANGES, 30 * DAY_MS, 9 * MIB, COHORTS_GROUP,
        {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS), "max.message.bytes": str(9 * MIB)},
    ),
    Topic(
        DEAD_LETTERS, 14 * DAY_MS, 10 * MIB, None,
        {"cleanup.policy": "delete", "retention.ms": str(14 * DAY_MS), "max.message.bytes": str(10 * MIB)},
    ),
)  # fmt: skip
# Made by `topics ensure` beside the three, and needed by nobody: without it everything works but `pause` and `resume`.
CONTROL_TOPIC: Final = Topic(
    CONTROL, -1, 16 * 1024, None, {"cleanup.policy": "compact", "max.message.bytes": str(MIB)}, partitions=1
)
BY_NAME: Final = {topic.name: topic for topic in TOPICS}
GROUPS: Final = {topic.group: topic.name for topic in TOPICS if topic.group}
