"""The faults Mailchimp is known for, ready to be added to `stand_in.faults`.

Each says whether the call was carried out: that is what a client can never see and a test must know.
"""

from __future__ import annotations

import orjson

from sandbox.faults import HTML_502, Fault, Mix
from sandbox.mailchimp.problems import named

HTML_504 = HTML_502.replace("502 Bad Gateway", "504 Gateway Time-out")


def problem(name: str) -> Fault:
    """One of the glossary's errors; the call is not carried out."""
    found = named(name)
    body = orjson.dumps(found.document("")).decode()
    return Fault(status=found.status, body=body, content_type="application/problem+json", name=name)


TOO_MANY = problem("TooManyRequests")
HAMMERED = Fault(status=403, body="", content_type="text/html", name="403 without a body")
"""Mailchimp at high volume: 403 instead of 429, with no JSON."""
BAD_GATEWAY = Fault(status=502, body=HTML_502, content_type="text/html", name="502 before")
BAD_GATEWAY_BUT_DONE = Fault(status=502, body=HTML_502, content_type="text/html", when="after", name="502 after")
GATEWAY_TIMEOUT_BUT_DONE = Fault(status=504, body=HTML_504, content_type="text/html", when="after", name="504 after")
SILENT = Fault(kind="hang", name="hang before")
SILENT_BUT_DONE = Fault(kind="hang", when="after", name="hang after")
"""Mailchimp: a request that timed out may still complete."""
RESET = Fault(kind="reset", name="reset before")
RESET_BUT_DONE = Fault(kind="reset", when="after", name="reset after")

QUICK = (TOO_MANY, HAMMERED, BAD_GATEWAY, BAD_GATEWAY_BUT_DONE, GATEWAY_TIMEOUT_BUT_DONE, RESET, RESET_BUT_DONE)
"""Those that answer, or fail, at once."""
ALL = (*QUICK, SILENT, SILENT_BUT_DONE)


def rough_weather(rate: float, *, seed: int, hanging: bool = False) -> Mix:
    """A share `rate` of all calls meets one of them; `hanging` adds those that are never answered."""
    return Mix(rate=rate, faults=list(ALL if hanging else QUICK), seed=seed)
