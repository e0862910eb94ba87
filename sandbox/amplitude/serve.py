"""The Amplitude stand-in in the foreground: what `listwire sandbox amplitude` runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Literal

from sandbox.amplitude.server import AmplitudeStandIn
from sandbox.foreground import until_told

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    api_keys: Iterable[str] = (),
    *,
    latency: float = 0.0,
    jitter: float = 0.0,
    seed: int = 0,
    keep: Literal["full", "ids"] = "ids",
    journal: Path | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. No API key named: every key is taken. The first line on stdout is the URL, so that
    another process can read it; on a terminal one line a second says what arrived. Raises SandboxError when the port is taken.
    """
    keys = set(api_keys) or None
    stand_in = AmplitudeStandIn(api_keys=keys, latency=latency, jitter=jitter, seed=seed, keep=keep, journal=journal)
    with until_told() as stopped:
        try:
            await stand_in.start(host, port)
            print(stand_in.url, flush=True)
            if sys.stdout.isatty():
                print(
                    f"Amplitude's stand-in: {stand_in.url}/batch and /2/httpapi; state at {stand_in.url}/_sandbox/state",
                    flush=True,
                )
                await _report(stand_in, stopped)
            else:
                await stopped.wait()
        finally:
            await stand_in.close()


async def _report(stand_in: AmplitudeStandIn, stopped: asyncio.Event) -> None:
    """One line a second in which something arrived."""
    state = stand_in.state
    before = (0, 0, 0)
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), 1.0)
        now = (len(state), state.duplicates, state.requests)
        if now != before:
            events, again, requests = (new - old for new, old in zip(now, before, strict=True))
            print(
                f"{events} events, {again} repeated, in {requests} requests; {len(state)} in all, {state.in_flight} under way",
                flush=True,
            )
            before = now
