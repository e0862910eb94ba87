"""The fault injection that both vendors' stand-ins share, over real HTTP: what the client sees, and whether the handler ran."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import httpx
import msgspec
import pytest
from aiohttp import web

from sandbox.faults import HTML_502, Fault, Faults, FaultsCommand, outages

When = Literal["unread", "before", "after"]


class Vendor:
    """A handler that only counts, behind faults."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.accepted: list[bytes] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.accepted.append(await request.read())
        return web.json_response({"ok": True, "padding": "x" * 20})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Vendor]:
        app = web.Application(middlewares=[self.faults.middleware()])
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.faults.release()
            await runner.cleanup()


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with Vendor().running() as running:
        yield running


@pytest.fixture
async def client(vendor: Vendor) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=vendor.url, timeout=10) as http:
        yield http


@pytest.mark.parametrize(("when", "accepted"), [("unread", 0), ("before", 0), ("after", 1)])
async def test_an_error_is_answered_before_or_after_accepting(
    vendor: Vendor, client: httpx.AsyncClient, when: When, accepted: int
) -> None:
    vendor.faults.add(
        Fault(status=502, when=when, body=HTML_502, content_type="text/html", headers={"X-Cdn": "yes"}, times=1)
    )
    answer = await client.post("/", content=b"body")
    assert (answer.status_code, answer.text, answer.headers["x-cdn"]) == (502, HTML_502, "yes")
    assert answer.headers["content-type"].startswith("text/html")
    assert len(vendor.accepted) == accepted
    assert (await client.post("/", content=b"body")).status_code == 200


@pytest.mark.parametrize(("when", "accepted"), [("unread", 0), ("before", 0), ("after", 1)])
async def test_a_reset_is_a_reset_and_says_nothing_of_what_was_accepted(
    vendor: Vendor, client: httpx.AsyncClient, when: When, accepted: int
) -> None:
    vendor.faults.add(Fault(kind="reset", when=when))
    with pytest.raises((httpx.ReadError, httpx.WriteError)):
        await client.post("/", content=b"body")
    assert len(vendor.accepted) == accepted


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("after", 1)])
async def test_a_hung_request_is_never_answered_until_it_is_released(
    vendor: Vendor, client: httpx.AsyncClient, when: When, accepted: int
) -> None:
    vendor.faults.add(Fault(kind="hang", when=when))
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/", content=b"body", timeout=0.3)
    waiting = asyncio.create_task(client.post("/", content=b"body"))
    while vendor.faults.injected["hang " + when] < 2:
        await asyncio.sleep(0.01)
    vendor.faults.clear()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await waiting
    assert len(vendor.accepted) in {accepted, 2 * accepted}
    assert (await client.post("/", content=b"body")).status_code == 200


async def test_a_request_that_is_about_to_hang_is_released_too(vendor: Vendor, client: httpx.AsyncClient) -> None:
    vendor.faults.add(Fault(kind="hang", when="after", delay=0.2))
    waiting = asyncio.create_task(client.post("/", content=b"body", timeout=5))
    while not vendor.faults.injected["hang after"]:
        await asyncio.sleep(0.01)
    vendor.faults.clear()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await waiting


async def test_a_dribbled_answer_is_whole_but_late(vendor: Vendor, client: httpx.AsyncClient) -> None:
    vendor.faults.add(Fault(kind="dribble", when="after", chunk=10, pause=0.01, times=1))
    assert (await client.post("/")).json()["ok"] is True
    vendor.faults.add(Fault(kind="dribble", when="after", pause=0.3, times=1))
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/", timeout=0.1)
    assert len(vendor.accepted) == 2


async def test_a_truncated_answer_breaks_the_protocol(vendor: Vendor, client: httpx.AsyncClient) -> None:
    vendor.faults.add(Fault(kind="truncate", when="after", times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/")
    assert len(vendor.accepted) == 1


async def test_canned_answers_come_in_order_and_before_standing_faults(
    vendor: Vendor, client: httpx.AsyncClient
) -> None:
    vendor.faults.add(Fault(status=503))
    vendor.faults.queue((500, "a"), (408, "b", 2), Fault(status=302, headers={"Location": "/elsewhere"}))
    assert [(await client.post("/")).status_code for _ in range(6)] == [500, 408, 408, 302, 503, 503]
    assert not vendor.accepted
    assert vendor.faults.injected == {"500 before": 1, "408 before": 2, "302 before": 1, "503 before": 2}


async def test_a_fault_can_be_narrowed_to_a_path_a_method_and_a_body(vendor: Vendor, client: httpx.AsyncClient) -> None:
    vendor.faults.add(Fault(status=403, path=r"/segments/\d+$", method="POST", contains="<script>"))
    assert (await client.post("/lists/1/segments/9", content=b"a <script> b")).status_code == 403
    assert (await client.put("/lists/1/segments/9", content=b"a <script> b")).status_code == 200
    assert (await client.post("/lists/1/segments", content=b"a <script> b")).status_code == 200
    assert (await client.post("/lists/1/segments/9", content=b"a script b")).status_code == 200


async def test_the_random_mix_repeats_itself_for_a_seed(vendor: Vendor, client: httpx.AsyncClient) -> None:
    async def run(seed: int) -> list[int]:
        vendor.faults.mix(0.5, [Fault(status=500), Fault(status=502, when="after")], weights=[1, 3], seed=seed)
        return [(await client.post("/")).status_code for _ in range(40)]

    first = await run(7)
    assert set(first) == {200, 500, 502}
    assert first == await run(7)
    assert first != await run(8)


async def test_the_control_planes_command_changes_what_is_in_force(vendor: Vendor, client: httpx.AsyncClient) -> None:
    vendor.faults.add(Fault(status=500))
    told = b'{"clear": true, "latency": 0.001, "add": [{"status": 413, "times": 1}], "mix": {"rate": 1, "faults": [{"status": 418}]}}'
    vendor.faults.apply(msgspec.json.decode(told, type=FaultsCommand))
    assert [(await client.post("/")).status_code for _ in range(2)] == [413, 418]
    assert vendor.faults.describe()["latency"] == 0.001
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"latencyy": 1}', type=FaultsCommand)


def test_clearing_keeps_the_latency_it_began_with() -> None:
    faults = Faults(latency=0.05, jitter=0.01)
    faults.apply(FaultsCommand(latency=1.0, jitter=0.5, add=[Fault()]))
    faults.clear()
    assert (faults.latency, faults.jitter, faults.describe()["in_force"]) == (0.05, 0.01, [])


async def test_faults_have_a_beginning_and_an_end() -> None:
    clock = [100.0]
    vendor = Vendor()
    vendor.faults = Faults(clock=lambda: clock[0])
    async with vendor.running(), httpx.AsyncClient(base_url=vendor.url) as client:
        vendor.faults.add(Fault(status=503, start=5, seconds=10))

        async def status_at(now: float) -> int:
            clock[0] = now
            return (await client.post("/")).status_code

        assert [await status_at(now) for now in (104.9, 105.0, 114.9, 115.0)] == [200, 503, 503, 200]


def test_a_seeded_schedule_lies_within_its_span_and_never_overlaps() -> None:
    planned = outages(3, 60, [Fault(status=500), Fault(kind="hang")], gap=5, length=2)
    assert planned == outages(3, 60, [Fault(status=500), Fault(kind="hang")], gap=5, length=2)
    assert len(planned) > 2
    ends = 0.0
    for fault in planned:
        assert fault.seconds is not None
        assert fault.start >= ends
        ends = fault.start + fault.seconds
    assert ends <= 60
