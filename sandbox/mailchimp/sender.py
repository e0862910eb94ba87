"""Sends webhooks the way Mailchimp does: one event a POST, ten seconds for an answer, retries for 75 minutes, 410 ends it.

Mailchimp has no log of deliveries; this stand-in keeps one, for tests. It must never change a member or a tag.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
from yarl import URL

from sandbox.mailchimp.forms import Form, encode
from sandbox.mailchimp.rules import RETRY_MINUTES, signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.mailchimp.audience import Audience, Webhook
    from sandbox.mailchimp.behaviour import Behaviour

USER_AGENT, VALIDATOR = "MailChimp.com", "MailChimp.com WebHook Validator"


@dataclass
class Delivery:
    """One event for one webhook. `statuses` holds an entry an attempt; 0 where no answer came in time."""

    id: int
    webhook: str
    url: str
    audience: str
    event: str
    body: bytes
    statuses: list[int] = field(default_factory=list)
    outcome: Literal["pending", "delivered", "given_up", "webhook_gone"] = "pending"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "body": self.body.decode()}


class WebhookSender:
    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]) -> None:
        self.deliveries: deque[Delivery] = deque(maxlen=100_000)
        self._behaviour = behaviour
        self._clock = clock
        self._ids = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._room = asyncio.Condition()
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        return self._session

    async def stop(self) -> None:
        """What waits for a retry is lost with the process, as it would be with a Mailchimp that forgets it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def settled(self) -> None:
        """Returns when every webhook fired so far was delivered or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def verify(self, url: str) -> int:
        """Mailchimp: a bare GET, no parameters, no body; only 200 lets the webhook be saved. 0: no answer."""
        return await self._attempt("GET", url, None, {"User-Agent": VALIDATOR})

    def fire(self, audience: Audience, event: str, source: str, form: Form) -> None:
        """To every webhook of the audience that wants the event from that source; campaigns have no source."""
        if not self._behaviour.send_webhooks:
            return
        for webhook in audience.webhooks.values():
            wanted = event == "campaign" or webhook.sources.get(source, False)
            if wanted and webhook.events.get(event, False) and not webhook.disabled:
                delivery = Delivery(next(self._ids), webhook.id, webhook.url, audience.id, event, encode(form))
                self.deliveries.append(delivery)
                task = asyncio.get_running_loop().create_task(self._deliver(audience, webhook, delivery))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _deliver(self, audience: Audience, webhook: Webhook, delivery: Delivery) -> None:
        signed_at = int(self._clock())
        waited = 0.0
        for minutes in (0, *RETRY_MINUTES):
            scaled = minutes * 60 * self._behaviour.webhook_time_scale
            await asyncio.sleep(scaled - waited)
            waited = scaled
            if webhook.disabled or webhook.id not in audience.webhooks:
                delivery.outcome = "webhook_gone"
                return
            if self._behaviour.resign_retries:
                signed_at = int(self._clock())
            status = await self._post(webhook, delivery.body, signed_at)
            delivery.statuses.append(status)
            if status == 410:
                webhook.disabled = True
                delivery.outcome = "webhook_gone"
                return
            if 200 <= status < 300:
                webhook.given_up_in_a_row = 0
                delivery.outcome = "delivered"
                return
        delivery.outcome = "given_up"
        webhook.given_up_in_a_row += 1
        if 0 < self._behaviour.drop_webhook_after <= webhook.given_up_in_a_row:
            audience.webhooks.pop(webhook.id, None)

    async def _post(self, webhook: Webhook, body: bytes, signed_at: int) -> int:
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/x-www-form-urlencoded"}
        if webhook.signing_secret:
            headers["X-Mailchimp-Signature"] = signature(webhook.signing_secret, signed_at, body)
        async with self._room:
            await self._room.wait_for(lambda: self._under_way < self._behaviour.webhook_connections)
            self._under_way += 1
        try:
            return await self._attempt("POST", webhook.url, body, headers)
        finally:
            self._under_way -= 1
            async with self._room:
                self._room.notify_all()

    async def _attempt(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> int:
        timeout = aiohttp.ClientTimeout(total=self._behaviour.webhook_timeout)
        try:
            async with self._client().request(
                method, URL(url, encoded=True), data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0
