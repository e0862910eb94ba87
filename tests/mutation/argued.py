"""What no test notices, and why it does not matter: module → (function, the change) → the reason. A change that is argued away here
and no longer exists is no harm; one that comes anew is printed by `make mutate`.
"""

from __future__ import annotations

from typing import Final

FALSY: Final = "read only as true or false, and None is as false as False"
SPELLING: Final = "another spelling of the same codec or error handler"
TUNING: Final = "a measured number, not a promise; one more or less is as good"
PARKED: Final = "what is parked is the rest of its delivery: nobody looks at the mark afterwards"
QUICKER: Final = "a short way to the same answer: without it the long way is taken"

ARGUED: Final[dict[str, dict[tuple[str, str], str]]] = {
    "stream/lanes.py": {
        ("Lane.__init__", "self.given_up = False → self.given_up = None"): FALSY,
        (
            "Lane.__init__",
            "self.proven = False  # something of it has been acknowledged → self.proven = None  # something of it has been acknowledged",
        ): FALSY,
        ("Lane.put", "elif run.begin < self.next: → elif run.begin <= self.next:"): (
            "where a run begins at the next offset, none of its records is left out"
        ),
        (
            "Lane.put",
            "keys = frozenset(map(_key, records)) if self.lanes.abreast > 1 else _NOBODY → keys = frozenset(map(_key, records)) if self.lanes.abreast >= 1 else _NOBODY",
        ): QUICKER,
        ("Lanes.__init__", "limit: int = 4000, → limit: int = 4001,"): TUNING,
        ("Lanes.__init__", "grace: float = 12.0, → grace: float = 13.0,"): TUNING,
        ("Lanes.__init__", "self.failed = False → self.failed = None"): FALSY,
        ("Lanes.__init__", "self.ended = False → self.ended = None"): FALSY,
    },
    "stream/codecs/form.py": {
        (
            "split",
            'for pair in body.decode("utf-8", "surrogateescape").split("&"): → for pair in body.decode("UTF-8", "surrogateescape").split("&"):',
        ): SPELLING,
        ("split", "name = known.get(raw) → name = None"): QUICKER,
        ("split", "name = known.get(raw) → name = known.get(None)"): QUICKER,
        (
            "_learn",
            'name = unquote_to_bytes(_bytes(raw.replace("+", " "))).decode("utf-8", "replace") → name = unquote_to_bytes(_bytes(raw.replace("+", " "))).decode("UTF-8", "replace")',
        ): SPELLING,
        (
            "text",
            'value = value.replace("+", " ").replace("%40", "@").replace("%3A", ":") → value = value.replace("+", " ").replace("XX%40XX", "@").replace("%3A", ":")',
        ): QUICKER,
        (
            "text",
            'value = value.replace("+", " ").replace("%40", "@").replace("%3A", ":") → value = value.replace("+", " ").replace("%40", "@").replace("XX%3AXX", ":")',
        ): QUICKER,
        (
            "text",
            'value = value.replace("+", " ").replace("%40", "@").replace("%3A", ":") → value = value.replace("+", " ").replace("%40", "@").replace("%3a", ":")',
        ): QUICKER,
        ("text", "return _values.get(value) or _unquote(value) → return _values.get(None) or _unquote(value)"): QUICKER,
        (
            "_bytes",
            'return value.encode("utf-8", "surrogateescape") → return value.encode("UTF-8", "surrogateescape")',
        ): SPELLING,
    },
    "stream/codecs/mailchimp_webhook.py": {
        ("Event.__init__", 'self.record: Any = None → self.record: Any = ""'): (
            "who reads the event puts the record there before anybody looks"
        ),
        (
            "Reader.__init__",
            'self.zone: tzinfo = UTC if webhooks.timezone == "UTC" else ZoneInfo(webhooks.timezone) → self.zone: tzinfo = UTC if webhooks.timezone == "XXUTCXX" else ZoneInfo(webhooks.timezone)',
        ): QUICKER,
        (
            "Reader.__init__",
            'self.zone: tzinfo = UTC if webhooks.timezone == "UTC" else ZoneInfo(webhooks.timezone) → self.zone: tzinfo = UTC if webhooks.timezone == "utc" else ZoneInfo(webhooks.timezone)',
        ): QUICKER,
        ("Reader._moment", "known = self._moments.get(raw) → known = None"): QUICKER,
        ("Reader._moment", "known = self._moments.get(raw) → known = self._moments.get(None)"): QUICKER,
        (
            "insert_id",
            'return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest() → return hashlib.sha256(parts.encode("UTF-8", "surrogatepass")).hexdigest()',
        ): SPELLING,
    },
    "stream/codecs/cohort_change.py": {
        (
            "decode",
            'return Rejection(Reason.UNDECODABLE, f"not a JSON object: {str(fault)[:200]}") → return Rejection(Reason.UNDECODABLE, f"not a JSON object: {str(fault)[:201]}")',
        ): TUNING,
        (
            "decode",
            'return Rejection(Reason.UNDECODABLE, f"not JSON: {str(fault)[:200]}") → return Rejection(Reason.UNDECODABLE, f"not JSON: {str(fault)[:201]}")',
        ): TUNING,
        (
            "decode",
            'return Rejection(Reason.INVALID_FIELD, f"{name}: {str(fault)[:200]}") → return Rejection(Reason.INVALID_FIELD, f"{name}: {str(fault)[:201]}")',
        ): TUNING,
        (
            "decode",
            'return Rejection(Reason.UNDECODABLE, f"not JSON: {name}: {str(fault)[:200]}") → return Rejection(Reason.UNDECODABLE, f"not JSON: {name}: {str(fault)[:201]}")',
        ): TUNING,
    },
    "stream/to_amplitude.py": {
        ("AmplitudeCourier.__init__", "parallel: int = 4, → parallel: int = 5,"): TUNING,
        ("AmplitudeCourier._probe", "detail=fault.detail[:200], → detail=fault.detail[:201],"): TUNING,
        (
            "AmplitudeCourier._others_pass",
            "if witness is not None and self.clock.monotonic() - witness[1] >= WITNESS_FOR: → if witness is not None and self.clock.monotonic() - witness[1] > WITNESS_FOR:",
        ): "six days are a day less than Amplitude remembers; the instant itself does not matter",
        (
            "AmplitudeCourier._others_pass",
            "if isinstance(answer, Accepted) and witness is None: → if isinstance(answer, Accepted) or witness is None:",
        ): "a witness that was throttled or rejected has passed the firewall too, and only that is asked of one",
        ("AmplitudeCourier._park", "event.settled = True → event.settled = None"): PARKED,
        ("AmplitudeCourier._park", "event.settled = True → event.settled = False"): PARKED,
        ("by_contact", "if wanted <= 1: → if wanted < 1:"): QUICKER,
        (
            "by_contact",
            "load = [0] * wanted → load = [1] * wanted",
        ): "all begin alike, and only the least is looked for",
    },
}
