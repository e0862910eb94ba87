"""Ports and the question whether a broker serves on one."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from pathlib import Path

HOST = "127.0.0.1"

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10240
_METADATA = 3
_METADATA_VERSION = 4


def pick_port() -> int:
    """A free port below the range from which the system takes the ports of outgoing connections.

    A port of that range may be taken by any client while the broker is down; and a client that keeps trying such a port
    on loopback can end up connected to itself.
    """
    try:
        highest = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError):
        highest = 32768
    if highest > _LOWEST:
        for _ in range(100):
            port = random.randrange(_LOWEST, highest)
            if is_free(port):
                return port
    with socket.socket() as any_port:
        any_port.bind((HOST, 0))
        return int(any_port.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does: connections of a former broker that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def serves(port: int, *, timeout: float = 1.0) -> bool:
    """True once a broker answers a Metadata request and names itself: it is registered, unfenced, and takes requests."""
    header = struct.pack(">hhih", _METADATA, _METADATA_VERSION, 1, -1)  # key, version, correlation, no client id
    request = header + struct.pack(">i?", 0, False)  # no topics, and none to be created
    with contextlib.suppress(OSError, struct.error), socket.create_connection((HOST, port), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        _, _, brokers = struct.unpack(">iii", answer.read(size)[:12])  # correlation, throttle time, brokers
        return bool(brokers > 0)
    return False
