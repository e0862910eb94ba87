"""Dead letters and their records, for tests."""

from __future__ import annotations

from listwire import dead_letters, topics
from listwire.dead_letters import Letter
from listwire.kafka_reader import Record
from listwire.records import Reason

NOW = 1_790_000_000.0


def letter(
    origin: str = "listwire.webhooks/0/0",
    value: bytes = b"type=subscribe",
    *,
    connection: str = "sources.newsletter",
    reason: Reason = Reason.CONNECTION_REFUSED,
    failed_at: int = int(NOW * 1000),
    key: bytes | None = b"newsletter:1",
    headers: tuple[tuple[str, bytes], ...] = (("source", b"newsletter"),),
    detail: str = "refused",
) -> Letter:
    topic, partition, offset = dead_letters.parse_origin(origin)
    return dead_letters.make(
        topic=topic, partition=partition, offset=offset, key=key, value=value, headers=headers, reason=reason,
        detail=detail, connection=connection, failed_at=failed_at,
    )  # fmt: skip


def record_of(made: Letter, partition: int, offset: int) -> Record:
    return Record(partition, offset, made.failed_at, made.key, made.value, tuple(made.headers()))


def mark_of(identity: str, partition: int, offset: int) -> Record:
    return Record(partition, offset, 0, identity.encode(), None, ((topics.REPLAYED, identity.encode()),))
