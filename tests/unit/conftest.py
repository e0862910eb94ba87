"""Unit tests never open a socket: what needs one is a contract or an integration test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def _sockets_off() -> Iterator[None]:
    # An event loop wakes itself through a pair of Unix sockets; those reach nobody.
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
