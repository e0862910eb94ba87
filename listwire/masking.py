"""Addresses, hidden: what a person sees of a letter unless they ask for all of it.

An address becomes the same hash as in the logs, so one person can be followed without being named. Found are addresses as
they stand, percent-encoded (once or twice) and with JSON's or HTML's escapes for the @. Other personal fields are not addresses
and stay: this hides, it does not make anonymous.
"""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qsl, quote, unquote

import orjson

from listwire.logs import address_hash

_AT = re.compile(r"@|%40|%2540|\\u0040|&#64;|&#x40;|&commat;", re.IGNORECASE)
# Where the part before the @ begins. Rare letters that an address may hold stay inside: rather too much is hidden.
_BEFORE = re.compile(r"[\s\"<>()\[\],;:&=@\\]|%(?:25)?(?:20|22|2c|3a|3b|3c|3e)", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:[\w'.-]|%(?:25)?[89a-f][0-9a-f])+|\[[^\]\s]{1,64}\]", re.IGNORECASE)
_LONGEST = 1000
# What would move the cursor or recolour the terminal, when somebody's bytes are shown on it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def mask(text: str) -> str:
    parts: list[str] = []
    end = 0
    for at in _AT.finditer(text):
        local = _BEFORE.split(text[max(end, at.start() - _LONGEST) : at.start()])[-1]
        domain = _DOMAIN.match(text, at.end())
        if local and domain and at.start() >= end:
            address = local + at[0] + domain[0]
            parts += [text[end : at.start() - len(local)], address_hash(plain(address))]
            end = domain.end()
    return "".join([*parts, text[end:]])


def plain(address: str) -> str:
    """As a person writes it."""
    decoded = html.unescape(address.replace("\\u0040", "@"))
    for _ in range(2):
        decoded = unquote(decoded)
    return decoded.strip("'`.")


def printable(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def readable(value: bytes) -> str:
    """A letter's value as lines a person can read: JSON indented, a form a field a line, else the text as it is."""
    try:
        return orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        pass
    text = value.decode("utf-8", "replace")
    if "=" in text and "\n" not in text.strip():
        fields = parse_qsl(text, keep_blank_values=True)
        if fields:
            return "\n".join(f"{name} = {content}" for name, content in fields)
    return text


def spellings(text: str) -> list[str]:
    """The text, and what it becomes when escapes are taken away: where an address is searched for. A + stays one: that it
    means a space in a form is known only to whoever reads the form.
    """
    once = unquote(text)
    return list(dict.fromkeys([text, once, unquote(once), html.unescape(text), text.replace("\\u0040", "@")]))


def cut_out(text: str, address: str) -> str:
    """The text with this very address as a hash, in whatever spelling `mentions` finds it; all else stays as it is."""
    bare = address.strip().lower()
    for at in ("@", "\\u0040", "%40", "%2540", "&#64;"):
        local, _, domain = bare.rpartition("@")
        for name in {local, quote(local, safe=""), quote(quote(local, safe=""), safe="")}:
            written = re.compile(rf"(?<![\w.+!#$*^~-]){re.escape(name + at + domain)}(?![\w-]|\.\w)", re.IGNORECASE)
            text = written.sub(address_hash(bare), text)
    return text


def mentions(text: str, address: str) -> bool:
    """Whether this very address stands in the text, in any spelling and case; not where it is a part of a longer one."""
    bare = address.strip().lower()
    wanted = re.compile(rf"(?<![\w.+!#$*^~-]){re.escape(bare)}(?![\w-]|\.\w)")
    return any(bare in spelling and wanted.search(spelling) for spelling in map(str.lower, spellings(text)))
