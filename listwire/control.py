"""What an operator wants of a connection, where every process can see it: a compacted topic, key a connection, value JSON.

`pause` parks a connection: workers write its records to dead letters, so that no other connection waits for it, and `resume`
brings them back. It must never be needed: where the topic is absent, nothing is paused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka.errors import KafkaError as ClientError

from listwire import topics
from listwire.clock import Clock
from listwire.errors import SettingsError, TopicsError
from listwire.kafka import durable_producer, unreachable
from listwire.kafka_reader import Reader
from listwire.settings import Settings
from listwire.settings.models import Kafka


@dataclass(frozen=True)
class Pause:
    connection: str
    since: int
    why: str

    @property
    def detail(self) -> str:
        return f"paused by `listwire pause`{': ' + self.why if self.why else ''}"


class Pauses:
    """The pauses in force. `read` takes in what is new since the last call; one `Reader` for as long as it is used."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.in_force: dict[str, Pause] = {}
        self._position = 0
        self._reader: Reader | None = None

    async def read(self) -> dict[str, Pause]:
        """Raises `KafkaError`; where there is no such topic nothing is paused."""
        try:
            if self._reader is None:
                self._reader = await Reader(self.kafka).__aenter__()
            end = (await self._reader.bounds(topics.CONTROL, [0]))[0].end if await self._present() else 0
            async for records in self._reader.read(topics.CONTROL, 0, self._position, end):
                for record in records:
                    self._take(record)
            self._position = max(self._position, end)
        except BaseException:
            await self.close()
            raise
        return self.in_force

    async def _present(self) -> bool:
        assert self._reader is not None  # noqa: S101 - made above
        try:
            return bool(await self._reader.partitions(topics.CONTROL))
        except TopicsError:
            return False

    def _take(self, record: Any) -> None:
        connection = (record.key or b"").decode("utf-8", "replace")
        pause = _read(connection, record.value)
        if pause is None:
            self.in_force.pop(connection, None)
        else:
            self.in_force[connection] = pause

    async def close(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.__aexit__(None, None, None)


def _read(connection: str, value: bytes | None) -> Pause | None:
    if value is None:
        return None
    try:
        found = orjson.loads(value)
        return (
            Pause(connection, int(found.get("since", 0)), str(found.get("why", ""))[:200])
            if found.get("paused")
            else None
        )
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return None


async def say(kafka: Kafka, connection: str, *, paused: bool, why: str, clock: Clock) -> None:
    """Durable when it returns."""
    value = orjson.dumps({"paused": True, "since": int(clock.time() * 1000), "why": why[:200]}) if paused else None
    producer = await durable_producer(kafka, need=f"Write on the topic {topics.CONTROL}", client_id="listwire-control")
    try:
        await producer.send_and_wait(topics.CONTROL, value, key=connection.encode(), partition=0)
    except (ClientError, OSError) as fault:
        raise unreachable(kafka, fault, f"Write on the topic {topics.CONTROL}") from fault
    finally:
        await producer.stop()


def named(settings: Settings, name: str) -> str:
    """The connection that a person means: `sources.newsletter`, or `newsletter` where only one is called so."""
    known = [f"sources.{each}" for each in settings.sources] + [
        f"cohort_syncs.{each}" for each in settings.cohort_syncs
    ]
    found = [each for each in known if name in {each, each.partition(".")[2]}]
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"{name!r} could be {' or '.join(found)}: write one of them.")
    raise SettingsError(f"There is no connection {name!r}; known are {', '.join(known) or 'none'}.")
