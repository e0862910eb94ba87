"""The console's application without Kafka, without a socket, and with a picture that a test paints."""

from __future__ import annotations

import re
from typing import Any

import httpx

from console.app import make_app
from console.sessions import Doorkeeper
from console.watch import Watch
from listwire.clock import SystemClock
from listwire.settings import Settings

TOKEN = "a-token-that-is-long-enough"
ORIGIN = "http://console.test"
AUDIENCE = "f1243a3b12"


class Time(SystemClock):
    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def settings(**console: Any) -> Settings:
    return Settings(
        kafka={"bootstrap_servers": "localhost:9"},
        amplitude={"product": {"api_key": "the-key-of-amplitude"}},
        mailchimp={"acme": {"api_key": "the-key-of-mailchimp-us6"}},
        sources={
            name: {"audience": AUDIENCE, "amplitude": "product", "secrets": ["secret-in-the-path"]}
            for name in ("newsletter", "shop")
        },
        cohort_syncs={"vip": {"mailchimp": "acme", "audience": AUDIENCE, "cohorts": ["VIP*"]}},
        console={"token": TOKEN, **console},
    )


class Door:
    def __init__(self, now: float = 1_790_000_000.0, **console: Any) -> None:
        self.clock = Time(now)
        self.settings = settings(**console)
        self.watch = Watch(self.settings, self.clock)
        self.doorkeeper = Doorkeeper(TOKEN, self.clock)
        self.app = make_app(self.settings, self.doorkeeper, self.watch, port=8084)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url=ORIGIN
        )

    async def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """As a browser sends a form of this origin."""
        sent = {"origin": ORIGIN, "sec-fetch-site": "same-origin", **headers}
        return await self.client.post(path, data=fields or {}, headers={k: v for k, v in sent.items() if v})

    async def csrf(self, path: str = "/trace") -> str:
        return csrf_in(await self.client.get(path))

    async def login(self, token: str = TOKEN) -> httpx.Response:
        return await self.post("/login", {"csrf": await self.csrf("/login"), "token": token})


def csrf_in(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]
