"""What must hold of whatever a stranger puts into a request: the path, Mailchimp's signature, the form's and the JSON's key.

An input is up to three parts with a line feed between: a path, a signature header, and a body with line feeds of its own.
A fuzzer cannot guess an HMAC, so `GOOD` and `OLD` in the header stand for the right digests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from urllib.parse import parse_qsl

from ingress import keys, signature
from ingress.app import declared_length
from ingress.routes import Route, Routes

NOW = 1_790_000_000.0
TOLERANCE = 300.0
SIGNING = (b"whsec-old", b"whsec-new")
SECRETS = {"newsletter": ("swordfish", "a/b ?%é"), "shop": ("x",)}
COHORT_SECRETS = {"daily": ("swordfish",)}


def _route(kind: str, name: str) -> Route:
    return Route(
        kind="mailchimp" if kind == "mailchimp" else "amplitude",
        name=name,
        topic="t",
        origin=("source", name.encode()),
        content_type=b"",
        most_bytes=1,
        stored=204,
        methods=("POST",),
    )


ROUTES = Routes(
    [(_route("mailchimp", name), secrets) for name, secrets in SECRETS.items()]
    + [(_route("amplitude", name), secrets) for name, secrets in COHORT_SECRETS.items()]
)
# Every path that leads somewhere, whole: what the table's two steps must come to.
LEADS = {
    f"/webhooks/{folder}{name}/{secret}": (kind, name)
    for kind, folder, table in (
        ("mailchimp", "mailchimp/", SECRETS),
        ("amplitude", "amplitude/cohorts/", COHORT_SECRETS),
    )
    for name, secrets in table.items()
    for secret in secrets
}


def check(data: bytes) -> None:
    path, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    _path(path.decode("utf-8", "replace"))
    _path(path.decode("utf-8", "surrogateescape"))
    _signature(header, body)
    _keys(body)
    digits = header[:19]
    length = declared_length({b"content-length": digits})
    assert length == (int(digits) if re.fullmatch(rb"[0-9]+", digits) else None)
    assert declared_length({b"content-length": digits, b"transfer-encoding": b"chunked"}) is None


def _path(path: str) -> None:
    route = ROUTES.find(path)
    assert ((route.kind, route.name) if route else None) == LEADS.get(path), f"{path!r} leads to {route}"


def _signature(template: bytes, body: bytes) -> None:
    times = re.findall(rb"t=([0-9]+)", template)
    header = template
    for word, secret in ((b"GOOD", SIGNING[1]), (b"OLD", SIGNING[0])):
        header = header.replace(word, _digest(secret, times[0] if times else b"", body))
    cause = signature.fault(header, body, SIGNING, NOW, TOLERANCE)
    assert signature.fault(None, body, SIGNING, NOW, TOLERANCE) == "missing"
    if cause is None:
        assert _proven(header, body), f"{header!r} proves nothing"
    if re.fullmatch(rb"t=[0-9]{1,15}(,v1=[0-9a-f]{64}){1,8}", header):
        assert cause == _cause(header, body), f"{header!r} is {cause!r}"


def _proven(header: bytes, body: bytes) -> bool:
    """Some time in it is near, and it holds a digest that a secret makes with that very time."""
    return any(
        abs(NOW - int(at)) <= TOLERANCE and _digest(secret, at, body) in header
        for at in re.findall(rb"[0-9]+", header)
        if len(at) <= 15
        for secret in SIGNING
    )


def _cause(header: bytes, body: bytes) -> str | None:
    """For a header as Mailchimp writes it."""
    at, *given = (part.partition(b"=")[2] for part in header.split(b","))
    if not {_digest(secret, at, body) for secret in SIGNING} & set(given):
        return "wrong"
    if abs(NOW - int(at)) <= TOLERANCE:
        return None
    return "too old" if int(at) < NOW else "from the future"


def _digest(secret: bytes, at: bytes, body: bytes) -> bytes:
    return hmac.new(secret, at + b"." + body, hashlib.sha256).hexdigest().encode()


def _keys(body: bytes) -> None:
    pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1", separator="&")
    contact = {name: value for name, value in pairs}.get("data[id]", "").encode("latin-1")  # noqa: C416 - the last wins
    assert keys.contact_id(body) == contact, f"the key is {keys.contact_id(body)!r}, the field {contact!r}"
    assert keys.webhook_key(b"shop", body) == (b"shop:" + contact[:1024] if contact else b"shop")
    key = keys.cohort_key(b"daily", body)
    assert 0 < len(key) <= 1024
    try:
        whole = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("cohort_id"), str) and whole["cohort_id"].isascii():
        assert key == (whole["cohort_id"].encode()[:1024] or b"daily")
