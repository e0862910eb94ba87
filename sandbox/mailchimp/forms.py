"""The webhooks' bodies: form pairs with PHP-style brackets, in the order of a recorded body.

Pure: a member and a moment in, pairs out. `data[id]` is the ten-digit legacy id, never the subscriber hash; fields that real
payloads carry and the documentation does not (`web_id`) are there, fields that may be absent are absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sandbox.mailchimp.rules import fired_at

if TYPE_CHECKING:
    from sandbox.mailchimp.audience import Audience, Member

Form = list[tuple[str, str]]

DEFAULT_MERGES: dict[str, Any] = {"FNAME": "", "LNAME": "", "ADDRESS": "", "PHONE": "", "BIRTHDAY": ""}


def encode(form: Form) -> bytes:
    return urlencode(form).encode()


def _bracketed(prefix: str, value: Any) -> Form:
    """Nested mappings and lists as `prefix[key][0][key]`; booleans and None as PHP writes them."""
    if isinstance(value, dict):
        return [pair for key, below in value.items() for pair in _bracketed(f"{prefix}[{key}]", below)]
    if isinstance(value, list):
        return [pair for index, below in enumerate(value) for pair in _bracketed(f"{prefix}[{index}]", below)]
    if value is None or value is False:
        return [(prefix, "")]
    return [(prefix, "1" if value is True else str(value))]


def _begin(kind: str, at: float) -> Form:
    return [("type", kind), ("fired_at", fired_at(at))]


def _contact(audience: Audience, member: Member) -> Form:
    merges = {"EMAIL": member.address, **DEFAULT_MERGES, **(member.merge_fields or {})}
    return [
        ("data[id]", member.legacy_id),
        ("data[email]", member.address),
        ("data[email_type]", "html"),
        ("data[ip_opt]", member.ip_opt),
        ("data[web_id]", str(member.web_id)),
        *_bracketed("data[merges]", merges),
        ("data[list_id]", audience.id),
    ]


def subscribe(audience: Audience, member: Member, at: float) -> Form:
    return _begin("subscribe", at) + _contact(audience, member)


def profile(audience: Audience, member: Member, at: float) -> Form:
    return _begin("profile", at) + _contact(audience, member)


def unsubscribe(audience: Audience, member: Member, at: float, *, action: str, reason: str, campaign_id: str) -> Form:
    """An empty `action` or `campaign_id` leaves the field out: real payloads lack both at times."""
    return [
        *_begin("unsubscribe", at),
        *([("data[action]", action)] if action else []),
        ("data[reason]", reason),
        *_contact(audience, member),
        *([("data[campaign_id]", campaign_id)] if campaign_id else []),
    ]


def upemail(audience: Audience, member: Member, at: float, *, old_address: str) -> Form:
    return [
        *_begin("upemail", at),
        ("data[new_id]", member.legacy_id),
        ("data[new_email]", member.address),
        ("data[old_email]", old_address),
        ("data[list_id]", audience.id),
    ]


def cleaned(audience: Audience, member: Member, at: float, *, reason: str, campaign_id: str) -> Form:
    return [
        *_begin("cleaned", at),
        ("data[campaign_id]", campaign_id),
        ("data[reason]", reason),
        ("data[email]", member.address),
        ("data[list_id]", audience.id),
    ]


def campaign(audience: Audience, at: float, *, campaign_id: str, subject: str, status: str, reason: str) -> Form:
    return [
        *_begin("campaign", at),
        ("data[id]", campaign_id),
        ("data[subject]", subject),
        ("data[status]", status),
        ("data[reason]", reason),
        ("data[list_id]", audience.id),
    ]
