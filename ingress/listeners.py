"""What the kernel is told about every connection to come: give up on a peer that does not read its answers.

The server beneath has deadlines for headers, and we for bodies, but nobody for an answer that the peer lets lie: such
connections would stay for ever, until there are as many as we take. It must never run before the server listens.
"""

from __future__ import annotations

import os
import socket
from typing import Final

# Nothing was acknowledged, or the peer's window stayed shut, for so long. Mailchimp gives up after as many seconds.
UNREAD_FOR_MS: Final = 10_000
# Answers are short. Left alone, the kernel keeps megabytes for a peer that asks and asks and reads none of it.
UNREAD_BYTES: Final = 128 * 1024
_FIRST_FILES: Final = 256


def limit_unread_answers() -> int:
    """Sets it on every listening socket of this process, whose connections inherit it. Returns how many there are.

    granian opens its socket itself and shows it to nobody, so it is looked for among the files that are open.
    """
    return sum(_limit(number) for number in range(3, _FIRST_FILES))


def _limit(number: int) -> bool:
    try:
        copy = os.dup(number)
    except OSError:
        return False  # no file is open there
    try:
        listener = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)  # a file, but no socket
        return False
    with listener:
        if listener.family not in {socket.AF_INET, socket.AF_INET6} or listener.type != socket.SOCK_STREAM:
            return False
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere only the bytes are bounded
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_FOR_MS)
        return True
