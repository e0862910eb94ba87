"""What the workers say of themselves: their /metrics, asked where they can be reached. Nothing depends on an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import httpx
from prometheus_client.parser import text_string_to_metric_families

from console import process_metrics
from console.process_metrics import Processes
from listwire.metrics import CONNECTION_STATUS, Status
from listwire.settings import Settings

WITHIN = 2.0
LONGEST = 4 << 20
# One connection is served by several processes, of which some may not have tried yet: the gravest word counts.
GRAVITY = (Status.REFUSED, Status.PAUSED, Status.RETRYING, Status.CONNECTED, Status.WAITING)


@dataclass(frozen=True)
class Said:
    """`status`: connection → what the workers say. `since`: when the youngest process that says so was started."""

    status: dict[str, Status] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    reached: tuple[str, ...] = ()
    processes: Processes = field(default_factory=Processes)


def addresses(settings: Settings) -> list[str]:
    """Where the workers are asked: as the settings say, else at their own ports on this machine."""
    if settings.console.workers:
        return list(settings.console.workers)
    host = settings.worker.host
    here = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else f"[{host}]" if ":" in host else host
    ports = [settings.worker.port] if settings.worker.port else [8081, 8082]
    return [f"http://{here}:{port}" for port in ports]


async def ask(client: httpx.AsyncClient, workers: Sequence[str]) -> Said:
    texts = await asyncio.gather(*(_text(client, f"{root}/metrics") for root in workers))
    answers = [(root, text) for root, text in zip(workers, texts, strict=True) if text is not None]
    return replace(combined(answers), processes=process_metrics.summed_up(text for _, text in answers))


async def _text(client: httpx.AsyncClient, url: str) -> str | None:
    try:
        async with asyncio.timeout(WITHIN), client.stream("GET", url) as response:
            if response.status_code != 200:
                return None
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LONGEST:
                    return None
            return body.decode("utf-8", "replace")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return None


def combined(answers: Iterable[tuple[str, str]]) -> Said:
    status: dict[str, Status] = {}
    since: dict[str, float] = {}
    reached = []
    for root, text in answers:
        found = read(text)
        if found is None:
            continue
        reached.append(root)
        says, started = found
        for connection, word in says.items():
            known = status.get(connection)
            if known is None or GRAVITY.index(word) < GRAVITY.index(known):
                status[connection] = word
            if started is not None:
                since[connection] = max(started, since.get(connection, 0.0))
    return Said(status, since, tuple(reached))


def read(text: str) -> tuple[dict[str, Status], float | None] | None:
    """Connection → status, and when the process began; None where this is no worker's page."""
    says: dict[str, Status] = {}
    started = None
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == CONNECTION_STATUS.name:
                    says[sample.labels.get("connection", "")] = Status(int(sample.value))
                elif sample.name == "process_start_time_seconds":
                    started = sample.value
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return (says, started) if says else None
