"""Mailchimp's webhook form: bytes to raw fields. Pure; never raises whatever the bytes.

Only keys are decoded while splitting, and each spelling of a key once: a webhook has some twenty fields, of which an event
needs ten. A value is decoded when somebody asks for it.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

# Spellings of keys kept decoded. Bodies choose their own keys, so the cache starts anew when it is full.
MOST_KEYS = 4096
_keys: dict[str, str] = {}
# The same for values with more than the usual percent signs: names of groups, mostly.
MOST_VALUES = 1024
_values: dict[str, str] = {}


class BadText(ValueError):
    """A value is not UTF-8 once its percent signs are undone."""


def split(body: bytes) -> dict[str, str]:
    """Field name → its value as it stands in the body; the last of duplicate keys wins. Bytes that are no UTF-8 stay in a
    value as surrogates, for `text` to refuse. As bytes, the same fields take twice as long to read.
    """
    fields: dict[str, str] = {}
    known = _keys
    for pair in body.decode("utf-8", "surrogateescape").split("&"):
        raw, _, value = pair.partition("=")
        name = known.get(raw)
        if name is None:
            name = _learn(raw)
        fields[name] = value
    return fields


def _learn(raw: str) -> str:
    name = unquote_to_bytes(_bytes(raw.replace("+", " "))).decode("utf-8", "replace")
    if len(_keys) >= MOST_KEYS:
        _keys.clear()
    if len(raw) <= 200:
        _keys[raw] = name
    return name


def text(value: str) -> str:
    """Raises `BadText`."""
    if "%" in value or "+" in value:
        # The two signs that every webhook has, in an address and in a time, at C speed.
        value = value.replace("+", " ").replace("%40", "@").replace("%3A", ":")
        if "%" in value:
            return _values.get(value) or _unquote(value)
    if not value.isascii():
        _check(value)
    return value


def _unquote(value: str) -> str:
    try:
        found = unquote_to_bytes(_bytes(value)).decode()
    except UnicodeDecodeError:
        raise BadText from None
    if len(_values) >= MOST_VALUES:
        _values.clear()
    if len(value) <= 200:
        _values[value] = found
    return found


def _check(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadText from None


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
