"""Reading a call's JSON body the way Mailchimp's schema check does: the wrong type is named, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from sandbox.mailchimp.problems import invalid, named

if TYPE_CHECKING:
    from aiohttp import web

_NAMES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "NULL",
}


def _wrong(field: str, wanted: type, found: Any) -> tuple[str, str]:
    return field, f"Schema describes {_NAMES[wanted]}, {_NAMES.get(type(found), 'unknown')} found instead"


async def json_body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise named("JSONParseError") from error
    if not isinstance(body, dict):
        raise invalid(_wrong("", dict, body))
    return body


def text(body: dict[str, Any], field: str, *, required: bool = False) -> str | None:
    found = body.get(field)
    if found is None and not required:
        return None
    if not isinstance(found, str):
        raise invalid(_wrong(field, str, found))
    if required and not found.strip():
        raise invalid((field, "This value should not be blank."))
    return found


def mapping(body: dict[str, Any], field: str) -> dict[str, Any]:
    found = body.get(field, {})
    if not isinstance(found, dict):
        raise invalid(_wrong(field, dict, found))
    return found


def switches(body: dict[str, Any], field: str, names: tuple[str, ...]) -> dict[str, bool]:
    """An object of booleans; a name outside `names` is refused."""
    found = mapping(body, field)
    wrong = [_wrong(f"{field}.{name}", bool, value) for name, value in found.items() if not isinstance(value, bool)]
    wrong += [(f"{field}.{name}", "This is not a valid field.") for name in found if name not in names]
    if wrong:
        raise invalid(*wrong)
    return found


def strings(body: dict[str, Any], field: str) -> list[str] | None:
    """None where the field is absent."""
    if field not in body:
        return None
    found = body[field]
    if not isinstance(found, list):
        raise invalid(_wrong(field, list, found))
    wrong = [_wrong(f"{field}.{index}", str, item) for index, item in enumerate(found) if not isinstance(item, str)]
    if wrong:
        raise invalid(*wrong)
    return found


def choice(body: dict[str, Any], field: str, allowed: frozenset[str]) -> str | None:
    found = text(body, field)
    if found is not None and found not in allowed:
        raise invalid((field, f"Value must be one of: {', '.join(sorted(allowed))}."))
    return found
