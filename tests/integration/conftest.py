"""One broker for all tests of a run that make topics of their own. Whoever needs Listwire's topics clean starts an own broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from listwire.settings import Settings
from sandbox.kafka import EmbeddedKafka
from tests.integration import operations
from tests.kafka_broker import broker_for_session


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    with broker_for_session(tmp_path_factory, worker_id) as servers:
        yield servers


@pytest.fixture(scope="session")
def config(listwire_broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings file of that broker."""
    return operations.settings_file(
        listwire_broker.bootstrap_servers, tmp_path_factory.mktemp("operations") / "listwire.toml"
    )


@pytest.fixture
async def settings(config: Path) -> Settings:
    """Of that broker, with Listwire's topics empty."""
    found = operations.settings_of(config)
    await operations.fresh_topics(found)
    return found
