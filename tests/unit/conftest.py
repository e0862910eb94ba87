"""Unit tests never open a socket: what needs one is a contract or an integration test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import pytest_socket
import structlog
from structlog._config import BoundLoggerLazyProxy

OURS = frozenset({"listwire", "ingress", "stream", "vendors", "console", "sandbox"})


@pytest.fixture(autouse=True)
def _sockets_off() -> Iterator[None]:
    # An event loop wakes itself through a pair of Unix sockets; those reach nobody.
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _logs_as_at_the_start() -> None:
    """A test that ran in this process before may have set up logs as a process of ours does, and loggers remember their first use."""
    structlog.reset_defaults()
    for name, module in list(sys.modules.items()):
        log = vars(module).get("log") if name.partition(".")[0] in OURS else None
        if isinstance(log, BoundLoggerLazyProxy):
            vars(log).pop("bind", None)
