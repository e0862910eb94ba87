"""A downloaded cohort: CSV with `amplitude_id`, `user_id` and a column for each property asked for, plain or gzipped.

Who is in it is read whole or not at all: half a file would look like people who have left.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from listwire.errors import ListwireError, VendorUnavailable

VENDOR = "amplitude"
GZIP = b"\x1f\x8b"
USER_ID = "user_id"
# Amplitude's own prefix of user properties, in its charts and perhaps here.
PREFIX = "gp:"
READ_AT_ONCE = 5000
LARGEST_FIELD = 1 << 20


@dataclass
class People:
    """`users` counts rows; `without_address` those whose property holds nothing that could be an address."""

    users: int = 0
    without_address: int = 0
    addresses: set[str] = field(default_factory=set)


async def read_people(file: IO[bytes], where: str, usable: Callable[[str], str | None]) -> People:
    """`where`: the property that holds the address, or user_id. `usable`: text → the address in it, or None.

    Raises `ListwireError` where the file has no such column, and `VendorUnavailable` where it is no whole file.
    """
    found = People()
    try:
        rows = csv.reader(_text(file), strict=True)
        header = next(rows, None)
        if header is None:
            return found
        at = _column(header, where)
        width = len(header)
        for row in rows:
            if not row:
                continue
            if len(row) != width:
                raise VendorUnavailable(
                    VENDOR,
                    200,
                    f"row {found.users + 1} of the cohort's file has {len(row)} of {width} columns",
                    cause="file",
                )
            found.users += 1
            if (address := usable(row[at])) is None:
                found.without_address += 1
            else:
                found.addresses.add(address)
            if found.users % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
    except (csv.Error, EOFError, OSError, zlib.error, UnicodeDecodeError) as fault:
        raise VendorUnavailable(VENDOR, 200, f"the cohort's file cannot be read: {fault}", cause="file") from None
    return found


def _text(file: IO[bytes]) -> Iterator[str]:
    file.seek(0)
    beginning = file.read(2)
    file.seek(0)
    raw = gzip.GzipFile(fileobj=file, mode="rb") if beginning == GZIP else file
    csv.field_size_limit(LARGEST_FIELD)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _column(header: list[str], where: str) -> int:
    for wanted in (where, PREFIX + where):
        if header.count(wanted) == 1:
            return header.index(wanted)
    shown = ", ".join(repr(each[:60]) for each in header[:20])
    raise ListwireError(
        f"Amplitude's file of the cohort has no column {where!r}; it has {shown}. "
        "Name in `email_property` the user property that holds the address, or user_id."
    )
