"""Webhooks as Mailchimp sends them: all six types, in the shape of captured bodies, and some that are wrong in ways seen in the wild."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

FIRST = ("Ada", "Grace", "Linus", "Barbara", "Edsger", "Radia", "Donald", "Hedy", "Alan", "Katherine")
LAST = ("Lovelace", "Hopper", "Torvalds", "Liskov", "Dijkstra", "Perlman", "Knuth", "Lamarr", "Turing", "Johnson")


@dataclass(frozen=True)
class Webhook:
    """`expected` is what becomes of it: delivered, filtered, dead (a dead letter), or the status with which it is refused."""

    label: str
    body: bytes
    expected: str
    wrong_secret: bool = False


class Mailbox:
    """Makes webhooks of one audience, the same ones for the same seed."""

    def __init__(self, audience: str, seed: int = 7) -> None:
        self.audience = audience
        self.random = random.Random(seed)
        self.number = 0

    def contact(self) -> dict[str, str]:
        self.number += 1
        first, last = self.random.choice(FIRST), self.random.choice(LAST)
        address = f"{first}.{last}+{self.number}@example.com"
        return {
            "data[id]": f"{self.random.getrandbits(40):010x}",
            "data[email]": address,
            "data[email_type]": "html",
            "data[ip_opt]": "198.51.100.7",
            "data[web_id]": str(400_000_000 + self.number),
            "data[merges][EMAIL]": address,
            "data[merges][FNAME]": first,
            "data[merges][LNAME]": last,
            "data[merges][ADDRESS]": "",
            "data[merges][INTERESTS]": "Releases, Events",
            "data[list_id]": self.audience,
        }

    def webhook(self, kind: str, contact: dict[str, str], **more: str) -> bytes:
        fields = {
            "type": kind,
            "fired_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            **contact,
            **{f"data[{k}]": v for k, v in more.items()},
        }
        return urlencode(fields).encode()

    def subscribe(self) -> Webhook:
        return Webhook("subscribe", self.webhook("subscribe", self.contact(), ip_signup="198.51.100.8"), "delivered")

    def unsubscribe(self) -> Webhook:
        return Webhook(
            "unsubscribe",
            self.webhook("unsubscribe", self.contact(), action="unsub", reason="manual", campaign_id="cb398d21d2"),
            "delivered",
        )

    def others(self) -> Iterator[Webhook]:
        """The four types that are filtered."""
        yield Webhook("profile", self.webhook("profile", self.contact()), "filtered")
        only_list = {"data[list_id]": self.audience}
        yield Webhook(
            "upemail",
            self.webhook(
                "upemail", only_list, new_id="51da8c3259", new_email="new@example.com", old_email="old@example.com"
            ),
            "filtered",
        )
        yield Webhook(
            "cleaned",
            self.webhook("cleaned", only_list, campaign_id="4fjk2ma9xd", reason="hard", email="gone@example.com"),
            "filtered",
        )
        yield Webhook(
            "campaign",
            self.webhook("campaign", only_list, id="5aa2102003", subject="Hello", status="sent", reason=""),
            "filtered",
        )

    def hostile(self) -> Iterator[Webhook]:
        contact = self.contact()
        yield Webhook(
            "of another audience", self.webhook("subscribe", {**contact, "data[list_id]": "0000000000"}), "dead"
        )
        yield Webhook("without a time", b"type=subscribe&data%5Blist_id%5D=" + self.audience.encode(), "dead")
        yield Webhook(
            "with an address that is none", self.webhook("subscribe", {**contact, "data[email]": "nobody"}), "dead"
        )
        yield Webhook("no form at all", b'{"type": "subscribe"}', "dead")
        yield Webhook(
            "with 4 000 fields",
            self.webhook("subscribe", contact) + b"".join(b"&f%d=1" % i for i in range(4000)),
            "delivered",
        )
        yield Webhook("larger than any webhook", b"type=subscribe&x=" + b"x" * 70_000, "413")
        yield Webhook("with a wrong secret", self.webhook("subscribe", contact), "404", wrong_secret=True)

    def scenario(self, amount: int) -> list[Webhook]:
        """`amount` ordinary ones with every other kind among them; a retried one, that must count once, at the end."""
        found = [self.subscribe() if i % 5 < 3 else self.unsubscribe() for i in range(amount)]
        for _ in range(max(1, amount // 20)):
            found += list(self.others())
        found += list(self.hostile())
        self.random.shuffle(found)
        retried = next(each for each in found if each.expected == "delivered")
        return [*found, Webhook("the same once more, as Mailchimp retries", retried.body, "delivered")]
