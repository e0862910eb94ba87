"""Numbers as a person says them: durations, sizes, counts of things. Nothing here reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """Like "450 ms", "4 min", "3 h 20 min": two units at most, never more exact than it helps."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    left = round(seconds)
    for index, (size, name) in enumerate(_UNITS):
        if left >= size:
            words = f"{left // size} {name}"
            rest = left % size
            if index + 1 < len(_UNITS) and index < 2 and rest >= _UNITS[index + 1][0]:
                words += f" {rest // _UNITS[index + 1][0]} {_UNITS[index + 1][1]}"
            return words
    return "0 s"


def size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return ""


def count(number: int, thing: str, things: str | None = None) -> str:
    """Like "1 letter", "1,204 letters"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def moment(milliseconds: int) -> str:
    """UTC to the second; what is no time in this era stays a number."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)
