"""Every answer there is. A status that is not in these tables cannot be given.

410 must never be among them: Mailchimp disables a webhook for good, at once and without a retry, when it is answered so.
"""

from __future__ import annotations

from typing import Any, Final

HOOK: Final = "/webhooks/mailchimp/{source}/{secret}"
COHORTS: Final = "/webhooks/amplitude/cohorts/{sync}/{secret}"

# Seconds; Mailchimp keeps its own timetable, Amplitude and people may read it.
RETRY_AFTER: Final = b"10"

WORDS: Final[dict[int, bytes]] = {
    200: b"ok\n",
    204: b"",
    400: b"the body broke off, or its chunks are none\n",
    401: b"the signature is missing, wrong or too old\n",
    404: b"not found\n",
    405: b"method not allowed\n",
    408: b"the body took too long\n",
    413: b"the body is too large\n",
    415: b"another content type is needed here\n",
    500: b"a fault of ours; please try again\n",
    503: b"not stored; please try again\n",
}

# Path → method → what it may be answered. `docs/openapi-ingress.json` says the same, and a test compares them.
# A method that is not named here is 405 for whoever knows the secret, and 404 for everybody else.
OPERATIONS: Final[dict[str, dict[str, frozenset[int]]]] = {
    HOOK: {
        "get": frozenset({200, 404}),
        "head": frozenset({200, 404}),
        "post": frozenset({200, 204, 400, 401, 404, 408, 413, 415, 500, 503}),
    },
    COHORTS: {"post": frozenset({200, 400, 404, 408, 413, 415, 500, 503})},
    "/healthz": {"get": frozenset({200}), "head": frozenset({200})},
    "/readyz": {"get": frozenset({200, 503}), "head": frozenset({200, 503})},
    "/metrics": {"get": frozenset({200}), "head": frozenset({200})},
}

Header = tuple[bytes, bytes]
_TEXT: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
CLOSE: Final[Header] = (b"connection", b"close")


def _fixed(status: int) -> tuple[Header, ...]:
    headers = [_TEXT] if WORDS[status] else []
    if status == 503:
        headers.append((b"retry-after", RETRY_AFTER))
    return tuple(headers)


_HEADERS: Final = {status: _fixed(status) for status in WORDS}
BODIES: Final[dict[int, dict[str, Any]]] = {
    status: {"type": "http.response.body", "body": words} for status, words in WORDS.items()
}


def start(status: int, *more: Header) -> dict[str, Any]:
    """The ASGI message that begins an answer; KeyError for a status that we do not give."""
    return {"type": "http.response.start", "status": status, "headers": [*_HEADERS[status], *more]}


def allowed(methods: tuple[str, ...]) -> Header:
    return (b"allow", ", ".join(methods).encode())
