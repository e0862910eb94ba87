"""Every change of who carries which tag, appended to a file before the call is answered.

A stand-in that is killed keeps its proof: what was answered is in the file, in the order in which it happened. One write a
line, straight to the kernel; nothing waits in a buffer of this process. It must never be rewritten or truncated here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TagChange(msgspec.Struct, omit_defaults=True):
    """`at` is ms since the epoch; addresses are lower-cased. `deleted` says that the tag itself went."""

    at: int
    audience: str
    segment: int
    tag: str
    added: list[str] = []
    removed: list[str] = []
    deleted: bool = False
    request: str = ""


class Journal:
    """Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, change: TagChange) -> None:
        if self._file is not None and (change.added or change.removed or change.deleted):
            os.write(self._file, msgspec.json.encode(change) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_journal(path: Path) -> Iterator[TagChange]:
    """Oldest first. A last line that was cut off by a kill is left out: its call was never answered."""
    decode = msgspec.json.Decoder(TagChange).decode
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield decode(line)


def membership(path: Path) -> dict[tuple[str, str], set[str]]:
    """Who carries which tag at the end of the journal, by audience id and casefolded tag name."""
    tags: dict[tuple[str, str], set[str]] = {}
    for change in read_journal(path):
        key = (change.audience, change.tag.casefold())
        if change.deleted:
            tags.pop(key, None)
            continue
        carriers = tags.setdefault(key, set())
        carriers.update(change.added)
        carriers.difference_update(change.removed)
    return tags
