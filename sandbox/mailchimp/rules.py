"""Mailchimp's rules as pure functions: names, addresses, times, signatures, the shape of a page.

They know nothing of HTTP and keep no state, so that a test can hold each of them against the vendor's own words.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

SEGMENT_CALL_LIMIT = 500
"""Mailchimp: at most 500 members in members_to_add, and 500 in members_to_remove, a call."""

PAGE_DEFAULT, PAGE_LIMIT = 10, 1000
"""Mailchimp: `count` is 10 when absent and at most 1000."""

TAG_NAME_LIMIT = 100
"""Not documented. Amplitude keeps cohort names under 88 characters and adds 12 of its own, which makes 100."""

RETRY_MINUTES = (1, 3, 7, 15, 25, 40, 60, 75)
"""Mailchimp retries a webhook at increasing intervals for 75 minutes; the schedule itself is not published."""

_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def subscriber_hash(address: str) -> str:
    """Mailchimp: the MD5 of the lower-cased address."""
    return hashlib.md5(address.strip().lower().encode(), usedforsecurity=False).hexdigest()


def tag_key(name: str) -> str:
    """Two names with the same key are one tag: integrations report that Mailchimp compares without regard to case."""
    return name.strip().casefold()


def looks_valid(address: str) -> bool:
    return len(address) <= 254 and _ADDRESS.fullmatch(address.strip()) is not None


def webhook_url_key(url: str) -> str:
    """Mailchimp takes URLs that differ only in the query string for the same webhook."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path, "", ""))


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def iso(at: float) -> str:
    """`2015-10-21T15:41:36+00:00`; Mailchimp shows whole seconds."""
    return _iso_second(int(at))


def fired_at(at: float) -> str:
    """`2009-03-26 21:35:57`: the webhooks' own form, without a zone. The zone is not documented; everyone reads UTC."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%d %H:%M:%S")


def from_iso(text: str) -> float:
    """Epoch seconds; a time without a zone is UTC. ValueError for anything else."""
    # A plus sign that was not percent-encoded arrives as a space.
    at = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def signature(secret: str, at: int, body: bytes) -> str:
    """The value of X-Mailchimp-Signature: HMAC-SHA256 over `{t}.{raw body}`, lower-case hex."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


Tree = dict[str, Any]


def field_tree(fields: str) -> Tree:
    """`members.id,total_items` as nested dicts; an empty dict means everything below."""
    tree: Tree = {}
    for path in filter(None, (part.strip() for part in fields.split(","))):
        node = tree
        for name in path.split("."):
            node = node.setdefault(name, {})
    return tree


def only(value: Any, tree: Tree) -> Any:
    """`fields`: the named paths and nothing else, through lists as if they were not there."""
    if not tree:
        return value
    if isinstance(value, list):
        return [only(item, tree) for item in value]
    if isinstance(value, dict):
        return {name: only(value[name], below) for name, below in tree.items() if name in value}
    return value


def without(value: Any, tree: Tree) -> Any:
    """`exclude_fields`: everything but the named paths."""
    if isinstance(value, list):
        return [without(item, tree) for item in value]
    if isinstance(value, dict):
        return {
            name: without(item, tree[name]) if name in tree else item
            for name, item in value.items()
            if name not in tree or tree[name]
        }
    return value
