"""Mailchimp's webhook form: bytes to raw fields. Pure; never raises whatever the bytes.

Only keys are decoded while splitting, and each spelling of a key once: a webhook has some twenty fields, of which an event
needs ten. A value is decoded when somebody asks for it.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

# Spellings of keys kept decoded. Bodies choose their own keys, so the cache starts anew when it is full.
MOST_KEYS = 4096
_keys: dict[bytes, str] = {}


class BadText(ValueError):
    """A value is not UTF-8 once its percent signs are undone."""


def split(body: bytes) -> dict[str, bytes]:
    """Field name → its value as it stands in the body; the last of duplicate keys wins."""
    fields: dict[str, bytes] = {}
    known = _keys
    for pair in body.split(b"&"):
        raw, _, value = pair.partition(b"=")
        name = known.get(raw)
        if name is None:
            name = _learn(raw)
        fields[name] = value
    return fields


def _learn(raw: bytes) -> str:
    name = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
    if len(_keys) >= MOST_KEYS:
        _keys.clear()
    if len(raw) <= 200:
        _keys[raw] = name
    return name


def text(value: bytes) -> str:
    """Raises `BadText`."""
    if b"+" in value:
        value = value.replace(b"+", b" ")
    if b"%" in value:
        # The two signs that every webhook has, in an address and in a time, at C speed.
        value = value.replace(b"%40", b"@").replace(b"%3A", b":")
        if b"%" in value:
            value = unquote_to_bytes(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadText from None
