"""How Mailchimp names things: contacts by a hash, tags without regard to case, accounts by their datacenter. Pure."""

from __future__ import annotations

import hashlib
import re

from listwire.errors import SettingsError

_DATACENTER = re.compile(r"[a-z]{2,}[0-9]+")


def subscriber_hash(address: str) -> str:
    """Mailchimp: the MD5 of the lower-cased address. It names a contact and protects nothing."""
    return hashlib.md5(address.strip().lower().encode(), usedforsecurity=False).hexdigest()


def tag_key(name: str) -> str:
    """Names with the same key are one tag: Mailchimp may change a tag's case and compares without regard to it."""
    return name.strip().casefold()


def base_url_for(api_key_or_dc: str) -> str:
    """The root in front of `/3.0`, from an API key (Mailchimp: the datacenter is its suffix, as in `…-us6`) or a datacenter.

    Raises `SettingsError`, without repeating the key, where that is no datacenter: nothing else may become a host name.
    """
    datacenter = api_key_or_dc.strip().rpartition("-")[2]
    if _DATACENTER.fullmatch(datacenter) is None:
        raise SettingsError(
            "a Mailchimp API key ends with its datacenter (…-us6), and none is there: copy the whole key"
        )
    return f"https://{datacenter}.api.mailchimp.com"
