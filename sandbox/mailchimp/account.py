"""One Mailchimp account: its keys, its audiences, and the parts that act on them. The routes get this and nothing else."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.mailchimp import problems
from sandbox.mailchimp.audience import Audience, Member, Segment
from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.contacts import Contacts
from sandbox.mailchimp.journal import Journal
from sandbox.mailchimp.sender import WebhookSender
from sandbox.mailchimp.tags import Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@dataclass
class OAuthClient:
    secret: str
    redirect_uris: list[str] = field(default_factory=list)
    """Empty: any."""


class Account:
    """`keys` are the account's API keys, suffix included; `tokens` what OAuth handed out. `url` is known after the start."""

    def __init__(
        self,
        keys: Iterable[str] | None,
        behaviour: Behaviour,
        journal: Path | None,
        clock: Callable[[], float],
        seed: int,
    ) -> None:
        self.any_key = keys is None
        self.keys = set(keys or ())
        self.datacenter = next((key.rpartition("-")[2] for key in self.keys if "-" in key), "us6")
        self.tokens: set[str] = set()
        self.oauth_clients = {"sandbox-client": OAuthClient("sandbox-secret")}
        self.behaviour = behaviour
        self.clock = clock
        self.url = ""
        self.audiences: dict[str, Audience] = {}
        self.journal = Journal(journal)
        self.sender = WebhookSender(behaviour, clock)
        self.tags = Tags(behaviour, self.journal, clock)
        self.contacts = Contacts(behaviour, self.tags, self.sender.fire, clock, random.Random(seed))

    @property
    def root(self) -> str:
        return f"{self.url}/3.0"

    def add_audience(self, audience_id: str, name: str) -> Audience:
        audience = Audience(audience_id, name, self.clock(), 1000 + len(self.audiences))
        self.audiences[audience_id] = audience
        return audience

    def new_token(self) -> str:
        token = secrets.token_hex(16)
        self.tokens.add(token)
        return token

    def audience(self, audience_id: str) -> Audience:
        found = self.audiences.get(audience_id)
        if found is None:
            raise problems.not_found()
        return found

    def member(self, audience: Audience, reference: str) -> Member:
        found = audience.member(reference)
        if found is None:
            raise problems.not_found()
        return found

    def segment(self, audience: Audience, reference: str) -> Segment:
        found = audience.segments.get(int(reference)) if reference.isascii() and reference.isdigit() else None
        if found is None:
            raise problems.not_found()
        return found
