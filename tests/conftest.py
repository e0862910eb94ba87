"""What all kinds of tests share: a broker, which begins first, and which stay together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from functools import cache

import pytest
from httpx._transports import default as httpx_transport
from hypothesis import Phase, settings

from sandbox.kafka import EmbeddedKafka

# The machine may be busy with other things: how long one example takes says nothing.
settings.register_profile("listwire", deadline=None)
# `make mutate` asks each question a thousand times, the same way each time, and wants no other answer than yes or no.
settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("listwire")

# Each client of httpx reads the machine's certificates, which takes 50 ms of a processor; tests make thousands of clients.
httpx_transport.create_ssl_context = cache(httpx_transport.create_ssl_context)  # type: ignore[assignment]

# A shell starts what it runs in the background deaf to Ctrl-C, and so would be every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def listwire_broker() -> Iterator[EmbeddedKafka]:
    """One a process, since a start takes seconds: for tests that begin with `operations.fresh_topics` and change no settings."""
    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture
def broker(listwire_broker: EmbeddedKafka) -> EmbeddedKafka:
    """Up, whatever the test before did to it; the same port and data."""
    return listwire_broker.start()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What waits for a broker first: so none of it is alone at the end, which thousands of quick tests fill.

    pytest-xdist begins with the largest groups and goes on with tests that are in no group, in this order.
    """
    items.sort(key=lambda item: item.get_closest_marker("kafka") is None)
    if config.getoption("loadgroup", default=False):
        for item in items:
            stay_together(item)


def stay_together(item: pytest.Item) -> None:
    """pytest-xdist 3.8 writes the name of a group where pytest 9.2 no longer looks, so that each worker starts the broker of each
    file. Here it is written where pytest looks.
    """
    mark = item.get_closest_marker("xdist_group")
    if mark is not None and not item.nodeid.endswith(f"@{mark.args[0]}"):
        item._id = item.id.parse(f"{item.nodeid}@{mark.args[0]}")
        assert item.nodeid.endswith(f"@{mark.args[0]}"), "groups are not kept together"
