"""The status port of workers and exporter, over real HTTP: what it answers, and which port it takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from listwire.errors import SettingsError
from listwire.status_server import StatusServer


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def fine() -> tuple[bool, str]:
    return True, "all is well"


def broken() -> tuple[bool, str]:
    return False, "nothing moves"


async def get(server: StatusServer, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        return await client.get(path, headers=headers)


async def test_health_readiness_and_metrics_are_answered() -> None:
    registry = CollectorRegistry()
    Gauge("answer", "of everything", registry=registry).set(42)
    server = StatusServer("127.0.0.1", 0, 8081, fine, broken, registry=registry)
    await server.start()
    try:
        assert server.port != 0
        health, ready, metrics = [await get(server, path) for path in ("/healthz", "/readyz", "/metrics")]
        assert (health.status_code, health.text) == (200, "all is well\n")
        assert (ready.status_code, ready.text) == (503, "nothing moves\n")
        assert "answer 42.0" in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain")
        openmetrics = await get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert (await get(server, "/")).status_code == 404
    finally:
        await server.stop()


async def test_without_a_port_the_default_is_taken_or_a_free_one(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    default = StatusServer("127.0.0.1", None, free, fine, fine)
    await default.start()
    assert default.port == free
    await default.stop()
    other = StatusServer("127.0.0.1", None, taken, fine, fine)
    await other.start()
    assert other.port not in {0, taken}
    await other.stop()


async def test_a_port_that_was_set_and_is_taken_is_an_error_that_names_the_key(taken: int) -> None:
    server = StatusServer("127.0.0.1", taken, 8083, fine, fine, section="exporter")
    with pytest.raises(SettingsError, match=rf"exporter\.port = {taken} is taken"):
        await server.start()


async def test_a_host_that_is_not_ours_is_an_error_that_names_the_key() -> None:
    server = StatusServer("192.0.2.1", 0, 8083, fine, fine)
    with pytest.raises(SettingsError, match=r"worker\.host = '192\.0\.2\.1'"):
        await server.start()
