"""A webhook form to Amplitude's event, as one would write it by hand: the standard library's parser, one dict.

The same JSON as Listwire's codec makes (the bench compares the two before it begins). It leaves out what the codec is for:
it raises on the first body that is not as expected, knows one audience, and one way to make a user id.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

KINDS = {"subscribe": "[Mailchimp] subscribe", "unsubscribe": "[Mailchimp] unsubscribe"}
COPIED = ("web_id", "email_type", "action", "reason", "campaign_id")


def to_event(body: bytes, source: str = "newsletter") -> dict[str, Any] | None:
    """None for a type that Amplitude does not get."""
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    kind = form["type"]
    if kind not in KINDS:
        return None
    audience, contact, fired_at = form["data[list_id]"], form["data[id]"], form["fired_at"]
    properties: dict[str, Any] = {
        "audience_id": audience,
        "source": source,
        "contact_id": contact,
        "fired_at": fired_at,
    }
    for name in COPIED:
        if value := form.get(f"data[{name}]"):
            properties[name] = value
    if groups := form.get("data[merges][INTERESTS]"):
        properties["interests"] = [group.strip() for group in groups.split(",")]
    parts = "".join(f"{len(part)}:{part}" for part in (audience, kind, contact, fired_at))
    return {
        "event_type": KINDS[kind],
        "user_id": form["data[email]"].strip().lower(),
        "time": int(datetime.fromisoformat(fired_at).replace(tzinfo=UTC).timestamp()) * 1000,
        "insert_id": hashlib.sha256(parts.encode()).hexdigest(),
        "event_properties": properties,
    }
