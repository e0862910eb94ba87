"""What every process says of itself beside the workers' own words: whether it needs a restart, and what became of the webhooks.

Read from /metrics pages that were fetched already; nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client.parser import text_string_to_metric_families

from listwire.metrics import CONNECTION_STATUS, INGRESS_REQUESTS, SETTINGS_STALE, WEBHOOK_CHANGED, WEBHOOK_OK
from listwire.settings import Settings


class Hook(StrEnum):
    """A source's webhook as the exporter last saw it at Mailchimp."""

    RIGHT = "right"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True)
class Processes:
    """`stale`: what must be started again to use the settings on disk, workers first. `hooks`: source → its webhook."""

    stale: tuple[str, ...] = ()
    hooks: dict[str, Hook] = field(default_factory=dict)


def addresses(settings: Settings) -> list[str]:
    """The ingress and the exporter, at their own ports on this machine; none where the settings say whom to ask."""
    if settings.console.workers:
        return []
    return [
        _here(settings.ingress.host, settings.ingress.port or 8080),
        _here(settings.exporter.host, settings.exporter.port or 8083),
    ]


def _here(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def summed_up(pages: Iterable[str]) -> Processes:
    stale: set[str] = set()
    hooks: dict[str, Hook] = {}
    for text in pages:
        page = _read(text)
        if page.get((SETTINGS_STALE.name, ""), 0):
            stale.add(_whose(page))
        for (name, source), value in page.items():
            if name == WEBHOOK_OK.name:
                changed = page.get((WEBHOOK_CHANGED.name, source), 0)
                hooks[source] = Hook.RIGHT if value else Hook.CHANGED if changed else Hook.GONE
    # In the order in which they are started again: what the ingress lets in, the workers must know.
    return Processes(tuple(name for name in ("worker", "exporter", "ingress") if name in stale), hooks)


def _whose(page: dict[tuple[str, str], float]) -> str:
    names = {name for name, _ in page}
    if CONNECTION_STATUS.name in names:
        return "worker"
    if INGRESS_REQUESTS.name in names or "listwire_ingress_bytes_in_flight" in names:
        return "ingress"
    return "exporter" if "listwire_exporter_up" in names else "worker"


def _read(text: str) -> dict[tuple[str, str], float]:
    """(metric, its source) → value; nothing where this is no page of ours."""
    found: dict[tuple[str, str], float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith("listwire_"):
                    found[sample.name, sample.labels.get("source", "")] = sample.value
    except (ValueError, KeyError, TypeError, IndexError):
        return {}
    return found
