"""A file of users, read whole before anything of it is sent: CSV with a header, one address a line, or JSON lines.

Pure. A row that holds no address is told with its line, and is never guessed at. Only the address and the id are taken
from a row: what else a file holds about a person has no business in Kafka.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from listwire.errors import ListwireError

Shape = Literal["auto", "csv", "lines", "json"]
# Text → the address in it as it is sent, or None. The codec's own, so that both sides agree on what an address is.
Usable = Callable[[str], str | None]

DELIMITERS = (",", ";", "\t")
# Amplitude: strings are at most 1024 characters long.
LONGEST_ID = 1024
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Member:
    """`user_id` is None where the file has no id for this address."""

    address: str
    user_id: str | None
    line: int


@dataclass(frozen=True, slots=True)
class BadRow:
    source: str
    line: int
    why: str


@dataclass(frozen=True)
class Columns:
    """`user_id` may be absent from a file, unless `needs_user_id`. In JSON lines these are keys."""

    email: str = "email"
    user_id: str = "user_id"
    needs_user_id: bool = False


@dataclass
class Reading:
    """`members` by address, in the file's order; where an address comes again, its first line counts."""

    source: str
    members: dict[str, Member] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)
    duplicates: int = 0


def read(data: bytes, source: str, columns: Columns, usable: Usable, shape: Shape = "auto") -> Reading:
    """Raises ListwireError where the file as a whole cannot be read: not UTF-8, or no column of that name."""
    text = _decoded(data, source)
    if shape == "auto":
        shape = _shape(text, source, columns, usable)
    rows = {"csv": _csv, "lines": _lines, "json": _json}[shape](text, source, columns)
    reading = Reading(source)
    for line, row in rows:
        if isinstance(row, str):
            reading.bad.append(BadRow(source, line, row))
            continue
        value, user_id = row
        address = usable(value)
        if address is None:
            why = f"{shown(value)} is no address" if value.strip() else f"no value in {columns.email!r}"
            reading.bad.append(BadRow(source, line, why))
        elif user_id is not None and len(user_id) > LONGEST_ID:
            why = f"the value in {columns.user_id!r} has {len(user_id):,} characters; an id has at most {LONGEST_ID:,}"
            reading.bad.append(BadRow(source, line, why))
        elif address in reading.members:
            reading.duplicates += 1
        else:
            reading.members[address] = Member(address, user_id, line)
    return reading


def shown(value: str) -> str:
    """As Python would write it: nothing in it can move the cursor."""
    return repr(value if len(value) <= SHOWN else value[:SHOWN] + "…")


# What a row yields: the text of its address and its id, or what is wrong with it.
_Row = tuple[int, tuple[str, str | None] | str]


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise ListwireError(f"{source}: line {line} is not UTF-8. Save the file as UTF-8, then publish it.") from None


def _shape(text: str, source: str, columns: Columns, usable: Usable) -> Shape:
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    if not first:
        return "lines"
    if first.startswith("{"):
        return "json"
    if _header(first)[columns.email.strip().casefold()]:
        return "csv"
    if usable(first) is not None:
        return "lines"
    raise ListwireError(
        f"{source}: its first line, {shown(first)}, names no column {columns.email!r} and is no address. Name the column "
        "with --email-column, or say with --format that it is a file of `lines` or `json`."
    )


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=header.count)


class _Header(dict[str, list[int]]):
    """Column name, without case → where it stands."""

    def __missing__(self, name: str) -> list[int]:
        return []


def _header(line: str) -> _Header:
    found = _Header()
    try:
        fields = next(csv.reader([line], delimiter=_delimiter(line), strict=True), [])
    except csv.Error:
        return found
    for at, name in enumerate(fields):
        found.setdefault(name.strip().casefold(), []).append(at)
    return found


def _column(header: _Header, name: str, source: str, *, needed: bool) -> int | None:
    places = header[name.strip().casefold()]
    if len(places) > 1:
        raise ListwireError(f"{source}: {len(places)} columns are named {name!r}; keep one.")
    if not places and needed:
        names = ", ".join(map(shown, header)) or "none"
        raise ListwireError(f"{source}: there is no column {name!r}; its header has {names}.")
    return places[0] if places else None


def _csv(text: str, source: str, columns: Columns) -> Iterator[_Row]:
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), None)
    if start is None:
        return
    header = lines[start]
    rows = csv.reader(io.StringIO("\n".join(lines[start:]), newline=""), delimiter=_delimiter(header), strict=True)
    email = user_id = None
    while True:
        line = start + rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as fault:
            yield line, f"not CSV: {fault}"
            continue
        if row is None:
            return
        if email is None:
            found = _header(header)
            email = _column(found, columns.email, source, needed=True)
            user_id = _column(found, columns.user_id, source, needed=columns.needs_user_id)
        elif any(cell.strip() for cell in row):
            yield line, (_cell(row, email), _cell(row, user_id).strip() or None)


def _cell(row: list[str], at: int | None) -> str:
    return row[at] if at is not None and at < len(row) else ""


def _lines(text: str, source: str, columns: Columns) -> Iterator[_Row]:
    if columns.needs_user_id:
        raise ListwireError(f"{source}: a file of addresses has no column {columns.user_id!r}; leave --id-column out.")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, (line.strip(), None)


def _json(text: str, source: str, columns: Columns) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as fault:
                yield number, f"not JSON: {fault.msg}"
                continue
            yield number, _of_object(value, columns)


def _of_object(value: Any, columns: Columns) -> tuple[str, str | None] | str:
    """Keys stand on the object, or under `user_properties` as in the messages."""
    if not isinstance(value, dict):
        return "no JSON object"
    below = value.get("user_properties")
    both = {**(below if isinstance(below, dict) else {}), **value}
    address, user_id = both.get(columns.email), both.get(columns.user_id)
    if not isinstance(address, str | None):
        return f"{columns.email!r} is no text"
    if user_id is None and columns.needs_user_id:
        return f"no {columns.user_id!r}"
    if isinstance(user_id, bool) or not isinstance(user_id, str | int | None):
        return f"{columns.user_id!r} is neither text nor a whole number"
    return address or "", None if user_id is None else str(user_id).strip() or None
