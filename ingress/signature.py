"""Mailchimp's signature over a webhook's raw bytes. Pure; it must never put a secret, or what it should have been, in its answer.

Mailchimp: `X-Mailchimp-Signature: t={unix seconds},v1={hex}`, where v1 is HMAC-SHA256 with the webhook's signing secret
over `{t}.{raw body}`; several v1 are possible.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Final, Literal

HEADER: Final = b"x-mailchimp-signature"

Cause = Literal["missing", "malformed", "wrong", "too old", "from the future"]

_TIME: Final = re.compile(rb"\bt=([0-9]{1,15})\b")
_DIGEST: Final = re.compile(rb"\bv1=([0-9a-f]{64})\b")
# Two secrets while rotating make two digests; more than a few are nobody's but an attacker's.
_MOST_DIGESTS: Final = 8


def fault(header: bytes | None, body: bytes, secrets: Sequence[bytes], now: float, tolerance: float) -> Cause | None:
    """None when one of the secrets made one of the header's digests, at most `tolerance` seconds away from `now`.

    The age is looked at last: "too old" says that the signature itself was right, which a clock or a late retry explains.
    """
    if header is None:
        return "missing"
    time = _TIME.search(header)
    digests = _DIGEST.findall(header)[:_MOST_DIGESTS]
    if time is None or not digests:
        return "malformed"
    signed = time[1] + b"." + body
    right = False
    for secret in secrets:
        wanted = hmac.digest(secret, signed, "sha256").hex().encode()
        for digest in digests:
            right |= hmac.compare_digest(digest, wanted)
    if not right:
        return "wrong"
    age = now - int(time[1])
    if abs(age) <= tolerance:
        return None
    return "too old" if age > 0 else "from the future"
