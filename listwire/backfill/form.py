"""The body that a missed webhook would have had: Mailchimp's form, field by field in the order of recorded ones. Pure.

What the insert_id is made of (audience, type, contact id, `fired_at`) is exact. Merge fields are today's: the record keeps no
older ones. What no record states (`reason`, groups by name) is left out, as Mailchimp itself leaves out fields at times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from listwire.backfill.contact import UNSUBSCRIBE
from listwire.backfill.derive import Missed


def body(missed: Missed, audience: str) -> bytes:
    contact = missed.contact
    fields = [("type", missed.kind), ("fired_at", missed.fired_at)]
    if missed.kind == UNSUBSCRIBE and contact.status == "unsubscribed":
        # "delete" would have taken the contact out of the audience, and it is there.
        fields.append(("data[action]", "unsub"))
    fields += [("data[id]", contact.id), ("data[email]", contact.address)]
    optional = {
        "email_type": contact.email_type, "ip_opt": contact.ip_opt, "ip_signup": contact.ip_signup, "web_id": contact.web_id,
    }  # fmt: skip
    fields += [(f"data[{name}]", value) for name, value in optional.items() if value]
    merges = {"EMAIL": contact.address, **(contact.merges or {})}
    fields += _bracketed("data[merges]", merges)
    fields.append(("data[list_id]", audience))
    if missed.campaign_id:
        fields.append(("data[campaign_id]", missed.campaign_id))
    return urlencode(fields).encode()


def key(source: str, missed: Missed) -> bytes:
    """The record's: that of the contact's other webhooks, so that it lands behind them."""
    return f"{source}:{missed.contact.id}".encode()


def _bracketed(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """`prefix[key][0][key]`, and booleans and nothing as PHP writes them."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _bracketed(f"{prefix}[{name}]", below)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _bracketed(f"{prefix}[{index}]", below)
    else:
        yield prefix, "" if value is None or value is False else "1" if value is True else str(value)
