"""One broker for all tests of a run that make topics of their own. Whoever needs Listwire's topics clean starts an own broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka_broker import broker_for_session


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    with broker_for_session(tmp_path_factory, worker_id) as servers:
        yield servers
