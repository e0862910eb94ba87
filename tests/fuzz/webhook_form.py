"""What must hold of any bytes that stand in listwire.webhooks: the codec against a slow reading of its own.

The reference takes the form apart with the standard library and must never import the codec's own functions. It reads one
way of spelling at a time, on purpose: where it agrees with the codec, the codec's shortcuts have changed nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from ingress import keys
from listwire.records import Reason, Rejection
from stream.codecs.mailchimp_webhook import Event, Filtered, Webhooks

AUDIENCE = "f1243a3b12"
SOURCES = (
    Webhooks("newsletter", AUDIENCE),
    Webhooks(
        "shop",
        AUDIENCE,
        policies=("merge:USERID", "email_sha256"),
        timezone="America/New_York",
        merge_properties=("FNAME", "ADDRESS"),
    ),
    Webhooks("md5", AUDIENCE, policies=("merge:USERID", "email", "email_md5"), merge_properties=("PHONE",)),
)
READERS = tuple((webhooks, webhooks.reader()) for webhooks in SOURCES)
NOBODY = {"anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "", "{}", "lmy47d", "0", "-1"}
NOBODY |= {"00000000-0000-0000-0000-000000000000"}

# What came out: "event" with its JSON and contact, "filtered" with the type, "rejected" with the reason.
Outcome = tuple[Any, ...]


def check(body: bytes) -> None:
    pairs = fields_of(body)
    form = _Form(pairs)
    spelt_anew = urlencode(pairs, encoding="latin-1").encode() if pairs else b""
    for webhooks, read in READERS:
        found = outcome(read(body))
        wanted = expected(body, form, webhooks)
        assert found == wanted, f"{webhooks.source}: the codec says {found!r}, the reference {wanted!r}"
        assert outcome(webhooks.reader()(body)) == found, "a reader that has seen nothing reads it otherwise"
        if found[0] == "event":
            contact = (keys.contact_id(body).decode().strip() or found[2]).encode()
            assert contact == found[2].encode(), "the ingress and the codec disagree about the contact"
        if spelt_anew and b"=" in body:
            again = outcome(read(spelt_anew))
            assert again == found, f"the same form in another spelling is {again!r}, not {found!r}"


def outcome(result: object) -> Outcome:
    """Exactly one of the three; anything else is a fault."""
    if isinstance(result, Event):
        value = json.loads(result.body.decode("utf-8"), object_pairs_hook=_no_name_twice)
        assert value["user_id"] == result.user_id
        return "event", value, result.contact.decode("utf-8")
    if isinstance(result, Filtered):
        return "filtered", result.why
    assert isinstance(result, Rejection), f"no outcome: {result!r}"
    assert isinstance(result.detail, str)
    assert result.detail
    return "rejected", result.reason


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a name stands twice in one object"
    return dict(pairs)


def fields_of(body: bytes) -> list[tuple[str, str]]:
    """By the standard library, a character a byte: what is no UTF-8 stays visible."""
    return parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1", separator="&")


class _Form:
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._bytes: dict[str, bytes] = {}
        for name, value in pairs:
            self._bytes[name.encode("latin-1").decode("utf-8", "replace")] = value.encode("latin-1")

    def text(self, name: str) -> str:
        return self._bytes.get(name, b"").decode("utf-8")

    def trimmed(self, name: str) -> str:
        return self.text(name).strip()

    def below(self, name: str) -> dict[str, str]:
        """`name[part]`, where there is a value."""
        found = {}
        for key in self._bytes:
            match = re.fullmatch(re.escape(name) + r"\[(.*)\]", key, re.DOTALL)
            if match and self._bytes[key]:
                found[match[1]] = self.text(key)[:1024]
        return found


def expected(body: bytes, form: _Form, webhooks: Webhooks) -> Outcome:
    if b"=" not in body:
        return "rejected", Reason.UNDECODABLE
    try:
        return _expected(form, webhooks)
    except UnicodeDecodeError:
        return "rejected", Reason.UNDECODABLE


def _expected(form: _Form, webhooks: Webhooks) -> Outcome:
    """In the contract's order: type, filter, list_id, audience, fired_at, address, user id; then the rest must be text."""
    kind = form.trimmed("type")
    if kind == "":
        return "rejected", Reason.MISSING_FIELD
    if kind not in {"subscribe", "unsubscribe"}:
        return "filtered", kind if kind in {"profile", "upemail", "cleaned", "campaign"} else "other"
    audience = form.trimmed("data[list_id]")
    if audience != webhooks.audience:
        return "rejected", Reason.WRONG_AUDIENCE if audience else Reason.MISSING_FIELD
    fired_at = form.trimmed("fired_at")
    if fired_at == "":
        return "rejected", Reason.MISSING_FIELD
    when = milliseconds(fired_at, webhooks.timezone)
    if when is None or when < 0:
        return "rejected", Reason.INVALID_FIELD
    address = (form.trimmed("data[email]") or form.trimmed("data[merges][EMAIL]")).lower()
    if "@" not in address:
        return "rejected", Reason.INVALID_FIELD if address else Reason.MISSING_FIELD
    user_id = next(filter(_usable, (_user_id(policy, address, form) for policy in webhooks.policies)), None)
    if user_id is None:
        return "rejected", Reason.INVALID_FIELD
    contact = form.trimmed("data[id]") or address
    joined = "".join(f"{len(part)}:{part}" for part in (audience, kind, contact, fired_at))
    properties: dict[str, Any] = {
        "audience_id": audience,
        "source": webhooks.source,
        "contact_id": contact[:1024],
        "fired_at": fired_at,
    }
    for name in ("web_id", "email_type", "action", "reason", "campaign_id"):
        if value := form.text(f"data[{name}]"):
            properties[name] = value[:1024]
    if groups := interests(form.text("data[merges][INTERESTS]")):
        properties["interests"] = groups
    merges: dict[str, Any] = {}
    for tag in webhooks.merge_properties:
        if whole := form.text(f"data[merges][{tag}]")[:1024]:
            merges[tag] = whole
        if parts := form.below(f"data[merges][{tag}]"):
            merges[tag] = parts
    if merges:
        properties["merge_fields"] = merges
    event = {
        "event_type": f"[Mailchimp] {kind}",
        "user_id": user_id,
        "time": when,
        "insert_id": hashlib.sha256(joined.encode()).hexdigest(),
        "event_properties": properties,
    }
    return "event", event, contact


def milliseconds(fired_at: str, zone: str) -> int | None:
    """Mailchimp: `2020-09-07 21:31:09`, in the account's zone; arithmetic on whole numbers."""
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)", fired_at, re.ASCII)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=ZoneInfo(zone))
        return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) * 1000
    except (ValueError, OverflowError):
        return None


def interests(text: str) -> list[str]:
    """A letter at a time: a comma parts two groups unless a backslash stands before it."""
    groups = [""]
    for at, letter in enumerate(text):
        if letter == "," and text[at - 1 : at] != "\\":
            groups.append("")
        else:
            groups[-1] += letter
    return [group.replace("\\,", ",").strip()[:1024] for group in groups if group.strip()]


def _user_id(policy: str, address: str, form: _Form) -> str:
    if policy == "email":
        return address
    if policy.startswith("merge:"):
        return form.trimmed(f"data[merges][{policy.partition(':')[2]}]")
    return hashlib.new(policy.partition("_")[2], address.encode(), usedforsecurity=False).hexdigest()


def _usable(user_id: str) -> bool:
    """Amplitude: ids below 5 characters are refused, and so are words that stand for nobody."""
    return 5 <= len(user_id) <= 1024 and user_id.lower() not in NOBODY
