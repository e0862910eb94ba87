"""Quix Streams: a dataframe into a BatchingSink, as its documentation writes one.

It flushes at each checkpoint, one partition after the other, on one thread: a POST waits for the one before it.

What it loses: nothing when it is killed. But a `SinkBackpressureError` drops the batches of all partitions and pauses them
all, one refused event stops the application for good, and one body that cannot be parsed ends it at every start.
"""

from __future__ import annotations

import os

import httpx
import orjson
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBackpressureError, SinkBatch

from bench.peers.event import to_event

HEAD = b'{"api_key":' + orjson.dumps(os.environ["API_KEY"]) + b',"events":'


class Amplitude(BatchingSink):
    def setup(self) -> None:
        self.http = httpx.Client(timeout=8, headers={"content-type": "application/json"})

    def write(self, batch: SinkBatch) -> None:
        for chunk in batch.iter_chunks(n=1000):
            content = HEAD + orjson.dumps([item.value for item in chunk]) + b"}"
            try:
                self.http.post(os.environ["SINK"], content=content).raise_for_status()
            except httpx.HTTPError:
                raise SinkBackpressureError(retry_after=1) from None


app = Application(
    broker_address=os.environ["KAFKA"],
    consumer_group=os.environ["GROUP"],
    auto_offset_reset="earliest",
    # A checkpoint is a flush: often enough for the latency, and full batches of all four partitions while draining.
    commit_interval=0.1,
    commit_every=5000,
    auto_create_topics=False,
    use_changelog_topics=False,
    loglevel="WARNING",
)
webhooks = app.topic(os.environ["TOPIC"], value_deserializer="bytes", key_deserializer="bytes")
frame = app.dataframe(webhooks)
frame = frame.apply(to_event)
frame = frame.filter(lambda event: event is not None)
frame.sink(Amplitude())

if __name__ == "__main__":
    app.run()
