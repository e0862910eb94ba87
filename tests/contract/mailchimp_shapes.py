"""Holds requests and answers against Mailchimp's shapes: ours, written down here, always; the vendor's published
description too, where the checkout beside this one has it.

Must never pass because the description is missing: `SHAPES` is complete for every call the client makes.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema

DESCRIPTION = Path(__file__).parents[3] / "shared" / "specs" / "mailchimp-marketing-subset.json"

PROBLEM = {"type": str, "title": str, "status": int, "detail": str, "instance": str}
EVENTS = dict.fromkeys(("subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign"), bool)
SOURCES = dict.fromkeys(("user", "admin", "api"), bool)
WEBHOOK = {"id": str, "url": str, "events": EVENTS, "sources": SOURCES, "list_id": str}
MEMBER = {
    "id": str,
    "email_address": str,
    "unique_email_id": str,
    "contact_id": str,
    "web_id": int,
    "email_type": str,
    "status": str,
    "merge_fields": dict,
    "timestamp_opt": str,
    "last_changed": str,
    "tags_count": int,
    "list_id": str,
}
SEGMENT = {
    "id": int,
    "name": str,
    "member_count": int,
    "type": str,
    "created_at": str,
    "updated_at": str,
    "list_id": str,
}
AUDIENCE = {"id": str, "web_id": int, "name": str, "date_created": str, "stats": {"member_count": int}}
TAG = {"id": int, "name": str}

SHAPES: dict[str, tuple[Any, Any]] = {
    # what is called: (shape of the request's body, shape of the answer); a list holds one shape for all its items
    "GET /ping": (None, {"health_status": str}),
    "GET /lists": (None, {"lists": [AUDIENCE], "total_items": int}),
    "GET /lists/{list_id}": (None, AUDIENCE),
    "GET /lists/{list_id}/members": (None, {"members": [MEMBER], "list_id": str, "total_items": int}),
    "POST /lists/{list_id}/members": ({"email_address": str, "status": str}, MEMBER),
    "GET /lists/{list_id}/members/{subscriber_hash}": (None, MEMBER),
    "PUT /lists/{list_id}/members/{subscriber_hash}": ({"email_address": str, "status_if_new": str}, MEMBER),
    "PATCH /lists/{list_id}/members/{subscriber_hash}": ({}, MEMBER),
    "DELETE /lists/{list_id}/members/{subscriber_hash}": (None, None),
    "GET /lists/{list_id}/members/{subscriber_hash}/activity-feed": (
        None,
        {"activity": [{"activity_type": str, "created_at_timestamp": str}], "email_id": str, "list_id": str},
    ),
    "GET /lists/{list_id}/members/{subscriber_hash}/tags": (None, {"tags": [TAG], "total_items": int}),
    "POST /lists/{list_id}/members/{subscriber_hash}/tags": ({"tags": [{"name": str, "status": str}]}, None),
    "GET /lists/{list_id}/segments": (None, {"segments": [SEGMENT], "list_id": str, "total_items": int}),
    "POST /lists/{list_id}/segments": ({"name": str, "static_segment": [str]}, SEGMENT),
    "GET /lists/{list_id}/segments/{segment_id}": (None, SEGMENT),
    "PATCH /lists/{list_id}/segments/{segment_id}": ({"name": str, "static_segment": [str]}, SEGMENT),
    "DELETE /lists/{list_id}/segments/{segment_id}": (None, None),
    "POST /lists/{list_id}/segments/{segment_id}": (
        {"members_to_add": [str], "members_to_remove": [str]},
        {
            "members_added": [MEMBER],
            "members_removed": [MEMBER],
            "errors": [{"email_addresses": [str], "error": str}],
            "total_added": int,
            "total_removed": int,
            "error_count": int,
        },
    ),
    "GET /lists/{list_id}/segments/{segment_id}/members": (None, {"members": [MEMBER], "total_items": int}),
    "GET /lists/{list_id}/tag-search": (None, {"tags": [TAG], "total_items": int}),
    "GET /lists/{list_id}/webhooks": (None, {"webhooks": [WEBHOOK], "list_id": str, "total_items": int}),
    "POST /lists/{list_id}/webhooks": (
        {"url": str, "events": EVENTS, "sources": SOURCES},
        {**WEBHOOK, "signing_enabled": bool, "signing_secret": str},
    ),
    "GET /lists/{list_id}/webhooks/{webhook_id}": (None, WEBHOOK),
    "PATCH /lists/{list_id}/webhooks/{webhook_id}": ({"url": str, "events": EVENTS, "sources": SOURCES}, WEBHOOK),
    "DELETE /lists/{list_id}/webhooks/{webhook_id}": (None, None),
}


def operation(method: str, path: str) -> str:
    """`GET /lists/{list_id}/segments` for `GET /3.0/lists/a6b5da1054/segments`."""
    here = path.removeprefix("/3.0")
    for known in SHAPES:
        verb, _, template = known.partition(" ")
        if verb == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), here):
            return known
    raise AssertionError(f"no shape is written down for {method} {path}")


def fits(found: Any, shape: Any, where: str = "answer") -> None:
    """Every name of the shape is there with its type; names beyond it are fine, as they are with Mailchimp."""
    if isinstance(shape, dict):
        assert isinstance(found, dict), where
        for name, below in shape.items():
            assert name in found, f"{where}.{name} is missing"
            fits(found[name], below, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(found, list), where
        for index, item in enumerate(found):
            fits(item, shape[0], f"{where}[{index}]")
    elif shape is int:
        assert type(found) is int, where
    else:
        assert isinstance(found, shape), f"{where} is {type(found).__name__}"


@cache
def _described() -> dict[str, Any] | None:
    return json.loads(DESCRIPTION.read_text())["paths"] if DESCRIPTION.exists() else None


def _against_description(called: str, query: list[str], sent: Any, status: int, answer: Any) -> None:
    verb, _, template = called.partition(" ")
    paths = _described()
    if paths is None or verb.lower() not in paths.get(template, {}):
        return
    described = paths[template][verb.lower()]
    parameters = {(item["in"], item["name"]): item for item in described["parameters"]}
    assert {name for name in query if ("query", name) not in parameters} == set(), (
        f"unknown query parameters of {called}"
    )
    if sent is not None and status < 400:
        jsonschema.Draft4Validator(parameters["body", "body"]["schema"]).validate(sent)
    schema = described["responses"].get(str(status), described["responses"]["default"]).get("schema")
    if schema is not None:
        jsonschema.Draft4Validator(schema).validate(answer)


def check_exchange(method: str, path: str, query: list[str], sent: Any, status: int, answer: Any) -> None:
    """One call and its answer. A call that was refused may have been wrong on purpose: then only the problem is held
    against its shape. With `fields` the answer is partial and only types of what is there could be checked.
    """
    called = operation(method, path)
    wants, gives = SHAPES[called]
    if status >= 400:
        fits(answer, PROBLEM)
    else:
        if wants is not None:
            fits(sent, {name: shape for name, shape in wants.items() if name in sent}, "request")
        if gives is not None and not {"fields", "exclude_fields"} & set(query):
            fits(answer, gives)
    _against_description(called, query, sent, status, answer)


async def check_shapes(response: httpx.Response) -> None:
    """For `event_hooks={"response": [check_shapes]}`: every exchange of that client is checked."""
    await response.aread()
    request = response.request
    if response.headers.get("content-type", "").startswith(("application/json", "application/problem+json")):
        sent = json.loads(request.content) if request.content else None
        query = list(request.url.params)
        check_exchange(request.method, request.url.path, query, sent, response.status_code, response.json())
