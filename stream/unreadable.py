"""A record that aiokafka cannot decode: a header whose name is not UTF-8. It raises, for ever, and takes whatever was fetched
with it along.

One such record must stop nobody, and must hide no other: the fetch is taken back, the partition is read one record at a time up
to the bad one, and that is handed on without key, value and headers, so that it ends as a dead letter which names its place.
Its bytes stay where they are, in the source topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from listwire import logs

log = logs.get("stream.unreadable")
SINGLY_AT_MOST = 2000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where the record would: the fields of a ConsumerRecord that anybody here reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    timestamp_type: int = 0
    key: None = None
    value: None = None
    headers: tuple[tuple[str, bytes], ...] = ()


async def read_around(consumer: Any, before: Mapping[Any, int | None]) -> dict[Any, list[Any]]:
    """Called when a fetch has raised UnicodeDecodeError. `before`: positions in front of that fetch. Returns the records of the
    partition at fault, up to and with the bad one; the others are fetched again.
    """
    fetcher = consumer._fetcher
    faulty = [tp for tp, result in fetcher._records.items() if tp in before and _died(result)]
    for tp, position in before.items():
        if position is not None:
            consumer.seek(tp, position)
    for tp in faulty:
        found: list[Any] = []
        while len(found) < SINGLY_AT_MOST:
            try:
                got = await fetcher.fetched_records([tp], timeout=1.0, max_records=1)
            except UnicodeDecodeError:
                position = consumer._subscription.subscription.assignment.state_value(tp).position
                consumer.seek(tp, position + 1)
                log.warning(
                    "a record cannot be read: a header's name is not UTF-8",
                    topic=tp.topic,
                    partition=tp.partition,
                    offset=position,
                )
                return {tp: [*found, Unreadable(tp.topic, tp.partition, position)]}
            if tp not in got:
                break
            found += got[tp]
        if found:
            return {tp: found}
    return {}


def _died(result: Any) -> bool:
    """Whether this partition's generator of records has ended on an exception."""
    records = getattr(result, "_partition_records", None)
    iterator = getattr(records, "_records_iterator", None)
    return iterator is not None and getattr(iterator, "gi_frame", 1) is None
