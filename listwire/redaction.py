"""Every known secret, cut out of any text, plain or percent-encoded. Used wherever a text of somebody else's may leave us."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

HIDDEN = "[redacted]"


class Redactor:
    def __init__(self, secrets: Iterable[str]) -> None:
        shapes: set[str] = set()
        for secret in secrets:
            # A single character would blank out whole texts; nothing that short keeps anybody out.
            if len(secret) >= 3:
                encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
                shapes |= {secret, *encoded, *(text.lower() for text in encoded), _json(secret)}
        ordered = sorted(shapes, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(HIDDEN, text) if self._pattern else text


def _json(secret: str) -> str:
    import orjson

    return orjson.dumps(secret).decode()[1:-1]


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
            for name in ("key", "token", "secret", "password", "login"):
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
