"""How Mailchimp shows its things: the JSON of audiences, members, segments and webhooks, and a page of a collection.

Read only. Shapes follow the vendor's published description; the tests hold every one of them against it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from aiohttp import web

from sandbox.mailchimp import problems
from sandbox.mailchimp.forms import DEFAULT_MERGES
from sandbox.mailchimp.rules import PAGE_DEFAULT, PAGE_LIMIT, field_tree, iso, only, without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.mailchimp.audience import Activity, Audience, Member, Segment, Webhook

T = TypeVar("T")
Json = dict[str, Any]

TAGS_SHOWN = 50
"""Mailchimp: a member object shows at most 50 tags."""

_LOCATION = '{"latitude":0,"longitude":0,"gmtoff":0,"dstoff":0,"country_code":"","timezone":"","region":""}'


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


@lru_cache(maxsize=10_000)
def _tag(tag: int, name: str) -> str:
    return _text({"id": tag, "name": name})


_DEFAULT_MERGES = _text(DEFAULT_MERGES)


def answer(request: web.Request, body: Json | orjson.Fragment, status: int = 200) -> web.Response:
    """The JSON answer, narrowed by `fields` or `exclude_fields` where the query asks for it."""
    text = orjson.dumps(body)
    if fields := request.query.get("fields"):
        text = orjson.dumps(only(orjson.loads(text), field_tree(fields)))
    elif excluded := request.query.get("exclude_fields"):
        text = orjson.dumps(without(orjson.loads(text), field_tree(excluded)))
    return web.Response(body=text, status=status, content_type="application/json", charset="utf-8")


def whole_number(request: web.Request, name: str, default: int, highest: int | None = None) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or (highest is not None and int(text) > highest):
        raise problems.invalid(
            (name, f"This value should be between 0 and {highest}." if highest else "This value is not valid.")
        )
    return int(text)


def page(request: web.Request, items: Iterable[T]) -> list[T]:
    """`count` (10 when absent, at most 1000) of them from `offset`."""
    count = whole_number(request, "count", PAGE_DEFAULT, PAGE_LIMIT)
    offset = whole_number(request, "offset", 0)
    return list(islice(items, offset, offset + count))


def link(rel: str, href: str, method: str = "GET") -> Json:
    return {"rel": rel, "href": href, "method": method}


def audience_json(audience: Audience, root: str) -> Json:
    statuses = [member.status for member in audience.members.values()]
    return {
        "id": audience.id,
        "web_id": audience.web_id,
        "name": audience.name,
        "contact": {
            "company": "Sandbox",
            "address1": "1 Test Street",
            "address2": "",
            "city": "Testville",
            "state": "",
            "zip": "",
            "country": "US",
            "phone": "",
        },
        "permission_reminder": "You asked for it on our website.",
        "use_archive_bar": False,
        "campaign_defaults": {
            "from_name": "Sandbox",
            "from_email": "sandbox@example.com",
            "subject": "",
            "language": "en",
        },
        "notify_on_subscribe": "",
        "notify_on_unsubscribe": "",
        "date_created": iso(audience.created_at),
        "list_rating": 0,
        "email_type_option": False,
        "subscribe_url_short": "",
        "subscribe_url_long": "",
        "beamer_address": "",
        "visibility": "prv",
        "double_optin": False,
        "has_welcome": False,
        "marketing_permissions": False,
        "modules": [],
        "stats": {
            "member_count": statuses.count("subscribed"),
            "unsubscribe_count": statuses.count("unsubscribed"),
            "cleaned_count": statuses.count("cleaned"),
            "total_contacts": len(statuses) - statuses.count("archived"),
        },
        "_links": [link("self", f"{root}/lists/{audience.id}")],
    }


def member_json(audience: Audience, member: Member, root: str) -> orjson.Fragment:
    """Written as text, since a thousand of these are in one answer to a segment call.

    What is interpolated bare comes from this package, never from a call.
    """
    merges, full_name, tags = _DEFAULT_MERGES, '""', "[]"
    if member.merge_fields:
        all_merges = {**DEFAULT_MERGES, **member.merge_fields}
        merges, full_name = _text(all_merges), _text(f"{all_merges['FNAME']} {all_merges['LNAME']}".strip())
    if member.tags:
        tags = f"[{','.join([_tag(tag, audience.segments[tag].name) for tag in member.tags[:TAGS_SHOWN]])}]"
    left = ""
    if member.status == "unsubscribed":
        why = next((each.detail for each in reversed(member.history) if each.type == "unsub"), "")
        left = f'"unsubscribe_reason":{_text(why)},'
    backwards = member.id[::-1]
    changed = iso(member.last_changed)
    return orjson.Fragment(
        f'{{"id":"{member.id}","email_address":{_text(member.address)},"unique_email_id":"{backwards[:10]}",'
        f'"contact_id":"{backwards}","full_name":{full_name},"web_id":{member.web_id},"email_type":"html",'
        f'"status":"{member.status}",{left}"consents_to_one_to_one_messaging":true,"merge_fields":{merges},"interests":{{}},'
        '"stats":{"avg_open_rate":0,"avg_click_rate":0},"ip_signup":"","timestamp_signup":"",'
        f'"ip_opt":"{member.ip_opt}","timestamp_opt":"{iso(member.timestamp_opt)}","member_rating":2,'
        f'"last_changed":"{changed}","language":"en","vip":false,"email_client":"","location":{_LOCATION},'
        f'"source":"{member.source}","tags_count":{len(member.tags)},"tags":{tags},"list_id":"{audience.id}",'
        f'"_links":[{{"rel":"self","href":"{root}/lists/{audience.id}/members/{member.id}","method":"GET"}}]}}'
    )


def activity_json(entry: Activity) -> Json:
    """Mailchimp's activity schemas: which fields an entry has depends on its type; times carry microseconds."""
    shown: Json = {
        "activity_type": entry.type,
        "created_at_timestamp": datetime.fromtimestamp(int(entry.at), UTC).isoformat(timespec="microseconds"),
    }
    if entry.type == "unsub":
        shown |= {
            "campaign_id": entry.campaign_id,
            "campaign_title": "A campaign" if entry.campaign_id else "",
            "is_admin_unsubscribed": entry.by_admin,
            "unsubscribe_reason": entry.detail,
        }
    elif entry.type == "generic_signup":
        shown["signup_category"] = entry.detail
    return shown


def segment_json(audience: Audience, segment: Segment, root: str) -> Json:
    """Mailchimp: `member_count` counts active subscribers only."""
    members = audience.members
    return {
        "id": segment.id,
        "name": segment.name,
        "member_count": sum(members[member].status == "subscribed" for member in segment.members),
        "type": segment.type,
        "created_at": iso(segment.created_at),
        "updated_at": iso(segment.updated_at),
        "options": segment.options or {"match": "any", "conditions": []},
        "list_id": audience.id,
        "_links": [link("self", f"{root}/lists/{audience.id}/segments/{segment.id}")],
    }


def webhook_json(audience: Audience, webhook: Webhook, root: str, *, show_secret: bool = False) -> Json:
    """The signing secret is shown once, by the call that creates the webhook, and is empty ever after."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": dict(webhook.events),
        "sources": dict(webhook.sources),
        "list_id": audience.id,
        "signing_enabled": bool(webhook.signing_secret),
        "signing_secret": webhook.signing_secret if show_secret else "",
        "_links": [link("self", f"{root}/lists/{audience.id}/webhooks/{webhook.id}")],
    }
