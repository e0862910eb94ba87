"""What the demo shows: webhooks arriving at Amplitude, a cohort becoming a tag, and the account of both."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

import httpx

from listwire import topics
from listwire.supervisor import Show
from sandbox.demo.stage import AUDIENCE, SHOP, Stage
from sandbox.demo.webhooks import Mailbox, Webhook
from sandbox.mailchimp import Happening

SETTLE_WITHIN = 60.0
COHORT = "Power users"
FORM = {"content-type": "application/x-www-form-urlencoded", "user-agent": "MailChimp.com"}


@dataclass
class Line:
    """One line of the account: the name, what is on both sides, and whether they agree."""

    words: str
    right: bool


async def play_webhooks(stage: Stage, mailbox: Mailbox, amount: int, say: Show, pace: float = 0.004) -> list[Line]:
    """Posts the scenario over HTTP, shows what arrives, and accounts for every request."""
    webhooks = mailbox.scenario(amount)
    say("mailchimp", f"posting {len(webhooks)} webhooks of all six types, some of them hostile, to the ingress")
    showing = asyncio.ensure_future(_show_events(stage, say))
    answers: Counter[str] = Counter()
    wrong: list[str] = []
    for webhook in webhooks:
        status = await _post(stage, webhook)
        answers[str(status)] += 1
        wanted = webhook.expected if webhook.expected.isdigit() else "204"
        if str(status) != wanted:
            wrong.append(f"{webhook.label}: {status} instead of {wanted}")
        elif webhook.expected not in {"delivered", "filtered"}:
            say(
                "ingress",
                f"a webhook {webhook.label}: {status}"
                + (" (stored; it becomes a dead letter)" if webhook.expected == "dead" else ""),
            )
        await asyncio.sleep(pace)
    stored = answers["204"]
    unique = len({webhook.body for webhook in webhooks if webhook.expected == "delivered"})
    expected = Counter(webhook.expected for webhook in webhooks)
    dead = await _settled(stage, unique, expected["dead"], stored)
    showing.cancel()
    received = await stage.records_in(topics.WEBHOOKS)
    counted = await stage.outcomes("subscriptions")
    delivered = len(stage.amplitude.state) + stage.amplitude.state.duplicates
    filtered = counted.get("filtered", 0)
    return [
        Line(
            f"answers: {', '.join(f'{n} x {status}' for status, n in sorted(answers.items()))}"
            + "".join(f"; {each}" for each in wrong),
            not wrong,
        ),
        Line(f"answered 204: {stored} = records in {topics.WEBHOOKS}: {received}", stored == received),
        Line(
            f"received {received} = delivered {delivered} + filtered {filtered} + dead letters {dead}",
            received == delivered + filtered + dead,
        ),
        Line(
            f"Amplitude holds {len(stage.amplitude.state)} events; {stage.amplitude.state.duplicates} repeated one was absorbed by its insert_id",
            len(stage.amplitude.state) == unique,
        ),
    ]


async def _post(stage: Stage, webhook: Webhook) -> int:
    url = stage.webhook_url("not-the-secret" if webhook.wrong_secret else None)
    try:
        return (await stage.http.post(url, content=webhook.body, headers=FORM)).status_code
    except httpx.HTTPError:
        return 0


async def one_more(stage: Stage, mailbox: Mailbox) -> None:
    """A webhook; and where the second audience is connected, somebody who joins it: the stand-in posts that as Mailchimp would."""
    with suppress(httpx.HTTPError):  # the ingress may just be starting again
        await stage.http.post(stage.webhook_url(), content=mailbox.subscribe().body, headers=FORM)
    shop = stage.mailchimp.audiences[SHOP]
    if shop.webhooks:
        stage.mailchimp.happen(Happening(what="subscribe", email_address=f"shopper{uuid4().hex[:6]}@example.com"), SHOP)


async def _settled(stage: Stage, events: int, dead: int, stored: int) -> int:
    """Waits until everything has arrived; returns the dead letters in Kafka."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLE_WITHIN
    found = -1
    while loop.time() < end:
        found = await stage.records_in(topics.DEAD_LETTERS)
        counted = await stage.outcomes("subscriptions")
        settled = sum(counted.get(outcome, 0) for outcome in ("delivered", "filtered", "dead_lettered"))
        if len(stage.amplitude.state) >= events and found >= dead and settled >= stored:
            break
        await asyncio.sleep(0.1)
    return found


async def _show_events(stage: Stage, say: Show, most: int = 12) -> None:
    """The first events one by one, then how many there are."""
    shown = told = 0
    while True:
        await asyncio.sleep(0.05)
        total = len(stage.amplitude.state)
        for event in stage.amplitude.state.events[shown : min(total, most)]:
            say("amplitude", f"{event['event_type']:<24} {event['user_id']}")
            shown += 1
        if total > most and total - told >= 100:
            say("amplitude", f"… {total} events so far")
            told = total


async def play_cohort(stage: Stage, say: Show, members: int = 1200) -> list[Line]:
    """A cohort enters by Amplitude's webhook and a part of it leaves; the tag must follow exactly."""
    audience = stage.mailchimp.audiences[AUDIENCE]
    addresses = [f"member{i}@example.com" for i in range(members)]
    audience.seed(members)
    strangers = ["stranger@example.org"]
    chooser = random.Random(11)
    leaving = chooser.sample(addresses, members // 10)
    staying = set(addresses) - set(leaving)
    lines: list[Line] = []
    for entered, who, expected in ((True, addresses + strangers, set(addresses)), (False, leaving, staying)):
        say("amplitude", f"cohort {COHORT!r}: {len(who)} users {'enter' if entered else 'leave'}")
        for begin in range(0, len(who), 1000):
            message = {
                "cohort_name": COHORT, "cohort_id": "7khm89cz", "in_cohort": entered, "computed_time": "1692206763",
                "message_id": f"demo::{'enter' if entered else 'exit'}::{begin}",
                "users": [{"user_id": address, "user_properties": {"email": address}} for address in who[begin : begin + 1000]],
            }  # fmt: skip
            (await stage.http.post(stage.cohort_url(), json=message)).raise_for_status()
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLE_WITHIN
        tagged: set[str] = set()
        while tagged != expected and loop.time() < end:
            await asyncio.sleep(0.1)
            tagged = set(audience.tagged(COHORT))
        say("mailchimp", f"tag {COHORT!r} has {len(tagged)} members")
        verb = "entered" if entered else "left"
        lines.append(
            Line(
                f"{len(who)} users {verb} the cohort: the tag's {len(tagged)} members are exactly its members in the audience",
                tagged == expected,
            )
        )
    return lines
