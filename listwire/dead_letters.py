"""The dead-letter record: how a source record that failed for good is written, read back and named.

A letter's identity is its origin, its connection and a digest of its value, so that partial letters of one origin stay
apart and a second replay replays nothing twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from listwire import topics
from listwire.records import Reason

MAX_DETAIL = 2048
OURS = frozenset(
    {
        topics.REASON,
        topics.DETAIL,
        topics.CONNECTION,
        topics.ORIGIN,
        topics.FAILED_AT,
        topics.REPLAYED,
        topics.REPLAY_OF,
        topics.REPLAY_FORCE,
    }
)
Header = tuple[str, bytes]
ORIGIN = re.compile(r"([A-Za-z0-9._-]+)/([0-9]{1,10})/([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as it stands in the topic. `place` is (partition, offset), or None before it was written."""

    key: bytes | None
    value: bytes
    source_headers: tuple[Header, ...]
    reason: str
    detail: str
    connection: str
    origin: str
    failed_at: int
    place: tuple[int, int] | None = None

    @property
    def id(self) -> str:
        return identity(self.origin, self.connection, self.value)

    @property
    def topic(self) -> str:
        return self.origin.rsplit("/", 2)[0]

    @property
    def position(self) -> tuple[str, int, int]:
        """Sorts letters of one topic oldest first within each partition."""
        topic, partition, offset = parse_origin(self.origin)
        return topic, partition, offset

    def headers(self) -> list[Header]:
        return [
            *self.source_headers,
            (topics.REASON, self.reason.encode()),
            (topics.DETAIL, cut(self.detail, MAX_DETAIL)),
            (topics.CONNECTION, self.connection.encode()),
            (topics.ORIGIN, self.origin.encode()),
            (topics.FAILED_AT, b"%d" % self.failed_at),
        ]


def identity(origin: str, connection: str, value: bytes) -> str:
    """32 hex digits."""
    parts = (origin.encode(), connection.encode(), hashlib.sha256(value).digest())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def origin_of(topic: str, partition: int, offset: int) -> str:
    return f"{topic}/{partition}/{offset}"


def parse_origin(origin: str) -> tuple[str, int, int]:
    """Raises ValueError where the text is no `topic/partition/offset`."""
    found = ORIGIN.fullmatch(origin)
    if found is None:
        raise ValueError(f"{origin!r} is no topic/partition/offset")
    return found[1], int(found[2]), int(found[3])


def milliseconds_in(text: str) -> int:
    """0 where the text is no time: too many digits are none either, and Python refuses to count thousands of them."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else 0


def cut(text: str, most: int) -> bytes:
    """UTF-8, at most `most` bytes, no half character."""
    data = text.encode("utf-8", "replace")
    return data if len(data) <= most else data[: most - 3].decode("utf-8", "ignore").encode() + "…".encode()


def make(
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes,
    headers: Iterable[Header],
    reason: Reason,
    detail: str,
    connection: str,
    failed_at: int,
) -> Letter:
    """A letter for the record at that place; one that was replayed and fails again keeps its first origin.

    A `replay_of` that no replay of ours can have written (anybody may produce to the topic) is passed over.
    """
    given = tuple(headers or ())
    first = next((text(v) for k, v in given if k == topics.REPLAY_OF), "")
    kept = tuple((k, v) for k, v in given if k not in OURS)
    origin = first if ORIGIN.fullmatch(first) else origin_of(topic, partition, offset)
    return Letter(key, value, kept, reason.value, detail, connection, origin, failed_at)


def text(value: bytes | None) -> str:
    return bytes(value or b"").decode("utf-8", "replace")


def read(
    key: bytes | None, value: bytes | None, headers: Sequence[Header], place: tuple[int, int]
) -> Letter | str | None:
    """A letter; or, for a mark, the identity that is done; or None for a record that is neither."""
    found = {k: text(v) for k, v in headers}
    if value is None:
        return found.get(topics.REPLAYED)
    if topics.REASON not in found or not ORIGIN.fullmatch(found.get(topics.ORIGIN, "")):
        return None
    return Letter(
        key=key,
        value=value,
        source_headers=tuple((k, v) for k, v in headers if k not in OURS),
        reason=found[topics.REASON],
        detail=found.get(topics.DETAIL, ""),
        connection=found.get(topics.CONNECTION, ""),
        origin=found[topics.ORIGIN],
        failed_at=milliseconds_in(found.get(topics.FAILED_AT, "")),
        place=place,
    )
