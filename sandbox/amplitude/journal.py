"""An append-only file of accepted events, so that a stand-in killed with SIGKILL loses neither its proof nor its memory.

One JSON array a line: seq, first 8 hex digits of the API key's SHA-256, insert_id, user_id, contact_id, time,
accepted at (both ms), device_id. Written before the answer is sent; not fsynced, since what must survive is the death
of a process, not of the machine. Must never hold an API key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from pathlib import Path


class Entry(NamedTuple):
    seq: int
    app: str
    insert_id: str | None
    user_id: str | None
    contact_id: str | None
    time: int
    accepted_at: int
    device_id: str | None


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._cut_torn_line()

    def write(self, entries: Iterable[Entry]) -> None:
        lines = b"".join(orjson.dumps(tuple(entry), option=orjson.OPT_APPEND_NEWLINE) for entry in entries)
        while lines:
            lines = lines[os.write(self._file, lines) :]

    def clear(self) -> None:
        os.ftruncate(self._file, 0)

    def close(self) -> None:
        os.close(self._file)

    def _cut_torn_line(self) -> None:
        """A last line without its newline was being written when the process died: its request was never answered."""
        size = os.fstat(self._file).st_size
        tail = os.pread(
            self._file, 65_536, max(0, size - 65_536)
        )  # far longer than any line: ids end at 1024 characters
        os.ftruncate(self._file, size - len(tail) + tail.rfind(b"\n") + 1)


def read(path: Path) -> Iterator[Entry]:
    """Every whole line, also while another process still writes."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield Entry(*orjson.loads(line))
