"""schemathesis loads this: it gives every second POST a header that the published document cannot lead to.

Seeded by the request itself, so that schemathesis can repeat and shrink what it has found.
"""

from __future__ import annotations

import random
from typing import Any

import schemathesis

SIGNATURE = "X-Mailchimp-Signature"
OTHER_TYPES = ("text/plain", "multipart/form-data; boundary=x", "application/json; charset=latin-1", "é", ";", "")
# What a client may put on the wire: Latin-1, without the characters that end a header.
LETTERS = [chr(code) for code in (9, *range(32, 127), *range(128, 256))]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if case.method != "POST":
        return
    pick = random.Random(repr((case.path_parameters, case.headers, case.body)))
    twist = pick.choice(("none", "none", "none", "letters", "digests", "type"))
    if twist == "letters":
        case.headers[SIGNATURE] = "t" + "".join(pick.choices(LETTERS, k=pick.randrange(60))).strip()
    elif twist == "digests":
        times, digests = (pick.choices(("t=1", "t=9" * 9, "t=1790000000", "t="), k=2), pick.choices("0fg", k=12))
        case.headers[SIGNATURE] = ",".join([*times, *(f"v1={digit * 64}" for digit in digests)])
    elif twist == "type":
        case.headers["Content-Type"] = pick.choice(OTHER_TYPES)
