"""Mailchimp and Amplitude as senders: every request is posted until it is answered 2xx, each contact's and each cohort's in order.

What was answered 2xx is kept, byte for byte: that is what Listwire has promised. Nothing here knows what becomes of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import orjson

from tests.webhook_bodies import webhook

CONTACTS: Final = 16
COHORTS: Final = 6
# Seconds between two requests of one contact, and of one cohort: short beside the vendors' 200 ms, so that a contact's webhooks
# stand next to each other in a delivery and in the next.
EVERY: Final = 0.4
# Members of the stand-in's audience, named as `Audience.seed` does. A cohort moves slowly over them, so that each address has a
# few changes close together and then a last word that stays.
MEMBERS: Final = 20_000
WINDOW: Final = 40
STEP: Final = 4
# Mailchimp gives up on a request after 10 seconds.
PATIENCE: Final = 10.0
BEGIN: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - Mailchimp sends no zone


class Post:
    """One request. `sent_at`: monotonic, of its last byte."""

    __slots__ = ("sent_at",)

    def __init__(self) -> None:
        self.sent_at: float | None = None

    async def trace(self, event: str, _: dict[str, Any]) -> None:
        """httpcore's own: it tells each step of a request."""
        if event == "http11.send_request_body.complete":
            self.sent_at = time.monotonic()


class Senders:
    """`webhooks` and `changes` are the answered bodies, by contact and by cohort, in the order in which they were answered."""

    def __init__(self, webhooks_url: str, cohorts_url: str, seed: int) -> None:
        self.webhooks_url = webhooks_url
        self.cohorts_url = cohorts_url
        self.webhooks: dict[int, list[bytes]] = defaultdict(list)
        self.changes: dict[str, list[bytes]] = defaultdict(list)
        self.enough = asyncio.Event()
        self.open: set[Post] = set()
        self.requests = 0
        self.answered = 0
        self._seed = seed
        self._number = 0

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=CONTACTS + COHORTS)
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, limits=limits) as http:
            await asyncio.gather(
                *[self._contact(contact, http) for contact in range(CONTACTS)],
                *[self._cohort(cohort, http) for cohort in range(COHORTS)],
            )

    async def _contact(self, contact: int, http: httpx.AsyncClient) -> None:
        dice = random.Random(f"contact {self._seed} {contact}")
        await self._pause(dice.uniform(0, EVERY))
        while not self.enough.is_set():
            self._number += 1
            body = webhook_of(self._number, contact, dice)
            await self._until_taken(http, self.webhooks_url, body, "application/x-www-form-urlencoded")
            self.webhooks[contact].append(body)
            await self._pause(EVERY)

    async def _cohort(self, number: int, http: httpx.AsyncClient) -> None:
        dice = random.Random(f"cohort {self._seed} {number}")
        await self._pause(dice.uniform(0, EVERY))
        turn = 0
        while not self.enough.is_set():
            body = change_of(number, turn, dice)
            await self._until_taken(http, self.cohorts_url, body, "application/json")
            self.changes[f"c{number}"].append(body)
            turn += 1
            await self._pause(EVERY)

    async def _until_taken(self, http: httpx.AsyncClient, url: str, body: bytes, kind: str) -> None:
        while True:
            self.requests += 1
            post = Post()
            self.open.add(post)
            extensions = {"trace": post.trace}
            try:
                answer = await http.post(url, content=body, headers={"content-type": kind}, extensions=extensions)
                taken = answer.is_success
            except httpx.HTTPError:
                taken = False
            finally:
                self.open.discard(post)
            if taken:
                self.answered += 1
                return
            await asyncio.sleep(0.2)

    async def _pause(self, seconds: float) -> None:
        if not self.enough.is_set():
            await asyncio.sleep(seconds)


def webhook_of(number: int, contact: int, dice: random.Random) -> bytes:
    """The `number`-th; most are events, some are of a type that is filtered, some of an audience that is not ours."""
    kind = dice.choices(["subscribe", "unsubscribe", "profile"], [48, 48, 4])[0]
    more = {"data_list_id": "0123456789"} if dice.random() < 0.02 else {}
    fired_at = (BEGIN + timedelta(seconds=number)).isoformat(" ")
    return webhook(contact, kind=kind, fired_at=fired_at, data_web_id=str(number), **more)


def change_of(cohort: int, turn: int, dice: random.Random) -> bytes:
    """Some enter or leave: members for the most part, now and then somebody outside the audience or without an address."""
    first = (cohort * MEMBERS // COHORTS + turn * STEP) % (MEMBERS - WINDOW)
    users: list[dict[str, Any]] = [
        user(f"member{number}@example.com") for number in dice.sample(range(first, first + WINDOW), dice.randint(1, 20))
    ]
    if dice.random() < 0.05:
        users.append(user(f"stranger{turn}@example.com"))
    if dice.random() < 0.05:
        users.append({"user_id": f"nobody-{cohort}-{turn}", "user_properties": {}})
    return change(f"c{cohort}", f"Cohort {cohort}", users, entered=dice.random() < 0.6, message=f"{cohort}-{turn}")


def user(address: str) -> dict[str, Any]:
    return {"user_id": address, "user_properties": {"email": address}}


def change(cohort: str, name: str, users: list[dict[str, Any]], *, entered: bool, message: str) -> bytes:
    return orjson.dumps(
        {"cohort_id": cohort, "cohort_name": name, "in_cohort": entered, "message_id": message, "users": users}
    )
