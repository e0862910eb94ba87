"""A Mailchimp to test against: strict where the vendor is known to be strict, adjustable where nobody knows.

It keeps state and enforces the rules that integrations have run into; what it takes and refuses is in `rules`, `tags` and
`contacts`, where it is undocumented in `Behaviour`, what goes wrong in `sandbox.faults` and `trouble`. It must never be
kinder than Mailchimp: a client that passes here only because of a courtesy is a client that fails there.
"""

from __future__ import annotations

from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.control import Happening
from sandbox.mailchimp.journal import TagChange, membership, read_journal
from sandbox.mailchimp.serve import serve
from sandbox.mailchimp.server import API_KEY, AUDIENCE, MailchimpStandIn

__all__ = [
    "API_KEY",
    "AUDIENCE",
    "Behaviour",
    "Happening",
    "MailchimpStandIn",
    "TagChange",
    "membership",
    "read_journal",
    "serve",
]
