"""The broker's side: an embedded Kafka with Listwire's topics, records produced into it, groups put where a run begins.

All readers read the same records of the same topic, each under its own group; before a run its group is set to the
beginning or to the end. Produced with librdkafka, which is there because of Quix Streams, and fast.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition  # type: ignore[import-untyped]

from bench import workload
from listwire import topics
from listwire.kafka_admin import ensure
from listwire.settings.load import load
from sandbox.kafka import EmbeddedKafka


class Broker:
    """A running broker with the topics made. `config` is a settings file for Listwire, written by `settings`."""

    def __init__(self, servers: str, directory: Path, partitions: int) -> None:
        self.servers = servers
        self.directory = directory
        self.partitions = partitions
        self.config = directory / "listwire.toml"

    def settings(self, sink: str) -> Path:
        """The file of somebody who changed nothing but addresses and names."""
        self.config.write_text(f"""
[kafka]
bootstrap_servers = "{self.servers}"
[topics]
partitions = {self.partitions}
[amplitude.product]
api_key = "{workload.API_KEY}"
base_url = "{sink}"
[sources.{workload.SOURCE}]
audience = "{workload.AUDIENCE}"
amplitude = "product"
secrets = ["{workload.SECRET}"]
""")
        return self.config

    def rewind(self, group: str, *, to_end: bool = False) -> None:
        """Waits until the group's last members have gone."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group, "log_level": 2})
        try:
            for attempt in range(60):
                places = []
                for number in range(self.partitions):
                    partition = TopicPartition(topics.WEBHOOKS, number)
                    low, high = consumer.get_watermark_offsets(partition, timeout=10)
                    partition.offset = high if to_end else low
                    places.append(partition)
                try:
                    consumer.commit(offsets=places, asynchronous=False)
                except KafkaException:
                    if attempt == 59:
                        raise
                    time.sleep(1)
                else:
                    return
        finally:
            consumer.close()

    def records(self) -> int:
        """How many the topic holds."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "bench-count", "log_level": 2})
        try:
            marks = [
                consumer.get_watermark_offsets(TopicPartition(topics.WEBHOOKS, number), timeout=10)
                for number in range(self.partitions)
            ]
        finally:
            consumer.close()
        return sum(high - low for low, high in marks)

    def producer(self, linger: int) -> Producer:
        return Producer({
            "bootstrap.servers": self.servers, "linger.ms": linger, "acks": "all", "enable.idempotence": True,
            "partitioner": "murmur2_random", "batch.size": 1 << 18, "queue.buffering.max.messages": 200_000, "log_level": 2,
        })  # fmt: skip

    def fill(self, count: int) -> None:
        """So many records that wait."""
        producer = self.producer(linger=20)
        headers = workload.headers(int(time.time() * 1000))
        for number, (key, form) in enumerate(workload.forms(count)):
            while True:
                try:
                    producer.produce(topics.WEBHOOKS, form, key, headers=headers)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
            if number % 1000 == 0:
                producer.poll(0)
        producer.flush()

    def trickle(self, rate: float, numbers: range) -> dict[int, float]:
        """Single records at a steady rate; number → time.monotonic() at which it was handed to the producer."""
        producer = self.producer(linger=0)
        produced = {}
        started = time.monotonic()
        for index, number in enumerate(numbers):
            while (wait := started + index / rate - time.monotonic()) > 0:
                producer.poll(0)
                time.sleep(min(wait, 0.002))
            produced[number] = time.monotonic()
            producer.produce(
                topics.WEBHOOKS, workload.form(number), workload.key(number),
                headers=workload.headers(int(time.time() * 1000)),
            )  # fmt: skip
        producer.flush()
        return produced


@contextmanager
def broker(sink: str = "http://127.0.0.1:9", partitions: int = workload.PARTITIONS) -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="listwire-bench-") as directory, EmbeddedKafka() as kafka:
        made = Broker(kafka.bootstrap_servers, Path(directory), partitions)
        asyncio.run(ensure(load(str(made.settings(sink)))))
        yield made
