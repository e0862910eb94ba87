"""Where Kafka is, for the contract tests that need one."""

from __future__ import annotations

import pytest

from sandbox.kafka import EmbeddedKafka


@pytest.fixture(scope="module")
def bootstrap(listwire_broker: EmbeddedKafka) -> str:
    """The process's own broker, which is up: whoever asks makes Listwire's topics afresh."""
    return listwire_broker.start().bootstrap_servers
