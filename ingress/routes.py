"""Which path leads where, and who may use it. Whoever does not know a secret must learn nothing here, not even by a clock."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import SecretStr

from listwire import topics
from listwire.settings import Settings

MAILCHIMP: Final = "/webhooks/mailchimp/"
AMPLITUDE: Final = "/webhooks/amplitude/cohorts/"

Kind = Literal["mailchimp", "amplitude"]


@dataclass(frozen=True, slots=True)
class Route:
    """One source or cohort sync. `origin` is the record header that names it."""

    kind: Kind
    name: str
    topic: str
    origin: tuple[str, bytes]
    content_type: bytes
    most_bytes: int
    stored: int  # the status that says so
    methods: tuple[str, ...]
    signing: tuple[bytes, ...] = ()
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class _Entry:
    digests: tuple[bytes, ...]
    route: Route | None


class Routes:
    """The table. Every lookup compares the same number of digests, whether the name is known or the path even looks right."""

    def __init__(self, known: Iterable[tuple[Route, Iterable[str]]]) -> None:
        rows = [(route, [_digest(secret) for secret in secrets]) for route, secrets in known]
        width = max((len(digests) for _, digests in rows), default=1)
        # Padded with digests of nothing, so that a rotation in progress does not show either.
        self._entries: dict[tuple[Kind | None, str], _Entry] = {
            (route.kind, route.name): _Entry((*digests, *_nobody(width - len(digests))), route)
            for route, digests in rows
        }
        self._unknown = _Entry(_nobody(width), None)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Route]:
        return (entry.route for entry in self._entries.values() if entry.route)

    def find(self, path: str) -> Route | None:
        """The route of a percent-decoded path; None for a wrong path, an unknown name and a wrong secret alike.

        The secret is all that follows the name: it may hold a slash, and a trailing one makes it another secret.
        """
        kind: Kind | None = None
        rest = path
        if path.startswith(MAILCHIMP):
            kind, rest = "mailchimp", path[len(MAILCHIMP) :]
        elif path.startswith(AMPLITUDE):
            kind, rest = "amplitude", path[len(AMPLITUDE) :]
        name, _, secret = rest.partition("/")
        entry = self._entries.get((kind, name)) or self._unknown
        given = _digest(secret)
        right = False
        for digest in entry.digests:
            right |= hmac.compare_digest(digest, given)
        return entry.route if right else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _nobody(count: int) -> tuple[bytes, ...]:
    return tuple(os.urandom(32) for _ in range(count))


def _plain(secrets: Iterable[SecretStr]) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets)


def from_settings(settings: Settings) -> Routes:
    """Every source, and every cohort sync that has a secret."""
    rows: list[tuple[Route, Iterable[str]]] = [
        (
            Route(
                kind="mailchimp",
                name=name,
                topic=topics.WEBHOOKS,
                origin=(topics.SOURCE, name.encode()),
                content_type=b"application/x-www-form-urlencoded",
                most_bytes=topics.MAX_WEBHOOK_BODY,
                stored=204,
                methods=("GET", "HEAD", "POST"),
                signing=tuple(secret.encode() for secret in _plain(source.signing_secret)),
                tolerance=source.signature_tolerance,
            ),
            _plain(source.secrets),
        )
        for name, source in settings.sources.items()
    ]
    rows += [
        (
            Route(
                kind="amplitude",
                name=name,
                topic=topics.COHORT_CHANGES,
                origin=(topics.SYNC, name.encode()),
                content_type=b"application/json",
                most_bytes=topics.MAX_COHORT_BODY,
                stored=200,
                methods=("POST",),
            ),
            _plain(sync.secrets),
        )
        for name, sync in settings.cohort_syncs.items()
        if sync.secrets
    ]
    return Routes(rows)
