"""Every known secret, cut out of any text, in whatever way it was written down. Used wherever a text of somebody else's may leave us.

The text may come from anywhere: a vendor's answer, a traceback, a URL in a library's log line. So each character of a
secret is looked for as itself, percent-encoded (once or more often), escaped as in JSON or Python, and as in HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

HIDDEN = "[redacted]"
# A single character would blank out whole texts; nothing that short keeps anybody out.
SHORTEST = 3
SIGNS = re.compile(r"[%\\&+]")
# Escaped four times over. Without an end, a text of nothing but backslashes takes the square of its length.
_ESCAPES = r"\\{1,15}"
# A property that reads a secret from its file, on any of the settings' tables.
READ_FROM_FILES = ("key", "token", "secret", "password", "login")


class Redactor:
    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one secret may be the beginning of another.
        ordered = sorted({s for s in secrets if len(s) >= SHORTEST}, key=lambda s: (-len(s), s))
        self._plain = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._any = re.compile("|".join("".join(map(_shapes, s)) for s in ordered))

    def __call__(self, text: str) -> str:
        if self._plain is None:
            return text
        # Without one of these signs a text holds no other notation, and the plain search is ten times as fast.
        return (self._any if SIGNS.search(text) else self._plain).sub(HIDDEN, text)


def _shapes(char: str) -> str:
    """A pattern for one character, in every notation."""
    utf8 = char.encode("utf-8", "surrogatepass")
    utf16 = char.encode("utf-16-be", "surrogatepass").hex()
    shapes = [
        re.escape(char),
        "".join(rf"%(?:25){{0,8}}(?i:{byte:02x})" for byte in utf8),
        "".join(rf"{_ESCAPES}u(?i:{utf16[at : at + 4]})" for at in range(0, len(utf16), 4)),
        "".join(rf"{_ESCAPES}x(?i:{byte:02x})" for byte in utf8),
    ]
    if len(utf8) > 1:
        shapes.append(rf"{_ESCAPES}(?:x|u00|U000)(?i:{ord(char):02x})")
    if char == " ":
        shapes.append(r"\+")
    if char in "\"'/\\":
        shapes.append(_ESCAPES + re.escape(char))
    if short := {"\n": "n", "\t": "t", "\r": "r", "\b": "b", "\f": "f"}.get(char):
        shapes.append(_ESCAPES + short)
    if (quoted := html.escape(char)) != char:
        shapes.append(re.escape(quoted))
    return f"(?:{'|'.join(shapes)})"


def secrets_in(settings: BaseModel) -> Iterator[str]:
    """Every SecretStr below, those read from files included."""
    seen: set[int] = set()

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, BaseModel) and id(value) not in seen:
            seen.add(id(value))
            for name in type(value).model_fields:
                yield from walk(getattr(value, name))
            for name in READ_FROM_FILES:
                if isinstance(getattr(type(value), name, None), property):
                    yield from walk(getattr(value, name))
        elif isinstance(value, dict):
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from walk(item)

    yield from walk(settings)


def for_settings(settings: BaseModel) -> Redactor:
    return Redactor(secrets_in(settings))
