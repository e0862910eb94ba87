"""Where a table stands in a person's own settings file, so that they can be told which lines to remove. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping


def lines_of(text: str, section: str, name: str) -> tuple[int, int] | None:
    """The first and last line of [section.name], counted from 1; None where it has no header of its own."""
    header = re.compile(rf"""\s*\[\s*["']?{re.escape(section)}["']?\s*\.\s*["']?{re.escape(name)}["']?\s*\]""")
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if header.match(line)), None)
    if first is None:
        return None
    last = first
    for number in range(first + 1, len(lines)):
        if re.match(r"\s*\[\[?\s*[\w\"']", lines[number]):
            break
        if lines[number].strip() and not lines[number].lstrip().startswith("#"):
            last = number
    return first + 1, last + 1


def variables_of(environ: Mapping[str, str], section: str, name: str) -> list[str]:
    """The environment variables that hold keys of it."""
    begin = f"LISTWIRE_{section}__{name.replace('-', '_')}__".upper()
    return sorted(variable for variable in environ if variable.upper().startswith(begin))
