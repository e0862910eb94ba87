"""A real Apache Kafka broker in a child process: no Docker, no Java to install, ready in seconds.

For tests, demos and `listwire up` on one machine. It must never be taken for a production broker: one node, no
replication, and nothing but loopback listens.
"""

from __future__ import annotations

from sandbox.kafka.broker import EmbeddedKafka
from sandbox.kafka.foreground import run_in_foreground
from sandbox.kafka.properties import SecureListener

__all__ = ["EmbeddedKafka", "SecureListener", "run_in_foreground"]
