"""A run: the records fetched together from one partition, handed to the agent as one event.

Faust costs some 200 µs a message, nearly all of it for tasks it makes per message; a run costs that once for hundreds of
records. A run knows the offsets it covers, holes included, so that lanes can tell a hole in the topic (compaction,
transaction markers) from a run that went missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faust.serializers.codecs import Codec, register

# What a ConsumerRecord costs in memory besides its value: the object, its tuple, key, headers. Measured: 350-450 bytes.
RECORD_COST = 400


class Records(Codec):
    """A run's value is already a list of records: nothing to decode."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, obj: Any) -> Any:
        return obj


register("records", Records())


class Run:
    """Covers `begin <= offset < end`; `first` is where the first run since the assignment began. To Faust it is one message,
    whose offset is the last it covers.
    """

    __slots__ = (
        "begin", "checksum", "end", "first", "headers", "key", "offset", "partition", "records", "serialized_key_size",
        "serialized_value_size", "timestamp", "timestamp_type", "topic", "weight",
    )  # fmt: skip

    def __init__(self, records: Sequence[Any], begin: int, end: int, first: int) -> None:
        last = records[-1]
        self.records = records
        self.begin = begin
        self.end = end
        self.first = first
        self.weight = weight(records)
        self.topic, self.partition, self.offset = last.topic, last.partition, self.end - 1
        self.timestamp, self.timestamp_type = records[0].timestamp, last.timestamp_type
        self.headers: tuple[()] = ()
        self.key = self.checksum = None
        self.serialized_key_size = self.serialized_value_size = 0

    @property
    def value(self) -> Run:
        """Itself. Not an attribute: in a cycle, each run's records would wait for the garbage collector."""
        return self


def weight(records: Sequence[Any]) -> int:
    """Bytes that these records hold in memory, roughly."""
    return sum(len(record.value or b"") for record in records) + RECORD_COST * len(records)
