"""Random uuid4s as 32 hex digits, 256 at a time: one by one, `uuid.uuid4` costs ten times as much."""

from __future__ import annotations

import os

_AT_ONCE = 256


class RequestIds:
    """Made where it is used, after a fork: two processes with one stock would give the same ids."""

    def __init__(self) -> None:
        self._stock: list[bytes] = []

    def next(self) -> bytes:
        if not self._stock:
            digits = os.urandom(16 * _AT_ONCE).hex()
            self._stock = [_version_4(digits[at : at + 32]) for at in range(0, len(digits), 32)]
        return self._stock.pop()


def _version_4(digits: str) -> bytes:
    return f"{digits[:12]}4{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:]}".encode()
