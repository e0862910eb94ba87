"""What a vendor said when it refused a key, in words for a person. The vendor's own words come in already redacted."""

from __future__ import annotations

import re

VENDORS = {"amplitude": "Amplitude", "mailchimp": "Mailchimp"}
# VendorError's own shape: see listwire/errors.py.
_ANSWER = re.compile(r"(amplitude|mailchimp)(?: answered ([0-9]{3}))?: (.*)\Z", re.DOTALL)
_DATACENTER = re.compile(r"linked to datacenter '([a-z0-9]+)'", re.IGNORECASE)
_LONGEST = 200


def vendor_of(connection: str) -> str:
    """Who may refuse this connection."""
    return "Amplitude" if connection.startswith("sources.") else "Mailchimp"


def words(detail: str, connection: str) -> str:
    """Like "Amplitude says the API key is invalid"; `detail` as a dead letter holds it, or empty where nobody knows more."""
    found = _ANSWER.match(detail.strip())
    vendor = VENDORS[found[1]] if found else vendor_of(connection)
    said = (found[3] if found else detail).strip()
    low = said.lower()
    if low.startswith("invalid api key") or "api key may be invalid" in low or "api key is invalid" in low:
        return f"{vendor} says the API key is invalid"
    if "api key" in low and "missing" in low:
        return f"{vendor} says the API key is missing"
    if home := _DATACENTER.search(said):
        return f"{vendor} says the key belongs to data centre {home[1]}"
    if "user disabled" in low or ("account" in low and ("disabled" in low or "deactivated" in low)):
        return f"{vendor} says the account is disabled"
    if not said or said == "no body" or said.startswith("<"):
        return f"{vendor} does not accept the key"
    if len(said) > _LONGEST:
        said = said[: _LONGEST - 1].rstrip() + "…"
    return f"{vendor} says: {said}"
