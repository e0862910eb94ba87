"""/healthz, /readyz and /metrics. They need no secret, so they must never show a setting, nor a path that was asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    words: bytes
    content_type: bytes = b"text/plain; charset=utf-8"


Show = Callable[[], Awaitable[Page]]


def pages(ready: Callable[[], Awaitable[bool]], count: Callable[[], None]) -> dict[str, Show]:
    """By path. `count` brings the metrics up to date; they are those of all workers where there are several."""

    async def readyz() -> Page:
        if await ready():
            return Page(200, b"Kafka acknowledges\n")
        return Page(503, b"Kafka does not acknowledge, or this process is stopping\n")

    making: asyncio.Task[Page] | None = None

    async def make() -> Page:
        nonlocal making
        await asyncio.sleep(
            0
        )  # whoever asks at the same time gets the same page, which is not older than any of their questions
        making = None
        count()
        return _metrics()

    async def metrics() -> Page:
        nonlocal making
        if making is None:
            making = asyncio.create_task(make())
        return await asyncio.shield(making)

    return {"/healthz": _healthz, "/readyz": readyz, "/metrics": metrics}


async def _healthz() -> Page:
    return Page(200, b"alive\n")


def _metrics() -> Page:
    registry = REGISTRY
    if SHARED_METRICS in os.environ:
        registry = CollectorRegistry()
        collect: Any = MultiProcessCollector
        collect(registry)
    return Page(200, generate_latest(registry), CONTENT_TYPE_LATEST.encode())
