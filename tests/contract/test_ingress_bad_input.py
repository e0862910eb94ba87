"""Bad input on the ingress's sockets: the process as it runs, a real Kafka behind it. Whatever is sent, the answer is one that is
documented, nothing gets into Kafka but bodies that were accepted, and everybody else is served.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from bench.attacks import KINDS, Kind
from ingress import answers
from tests.bad_requests import SHAPES, SMUGGLED, Shape, chunks, request
from tests.ingress_process import COHORTS, FORM, HOOK, JSON, Ingress, whole
from tests.ingress_sockets import MIB, Topics, ask, drip, statuses, unread

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120), pytest.mark.xdist_group("ingress-bad-input")]

# What the server beneath answers before a request is one, and the interim answer that a peer has asked for.
BENEATH: Final = {100, 400, 431}
DOCUMENTED: Final = BENEATH | set(answers.WORDS) - {500}


@pytest.fixture(scope="module")
def ingress(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    with whole(tmp_path_factory.mktemp("ingress"), bootstrap) as found:
        yield found
    assert "panicked" not in found.output


@pytest.fixture(scope="module", autouse=True)
def never_reads(ingress: Ingress) -> Iterator[None]:
    """A peer that asks forty times and reads no answer. It is there from the start, and looked at by the last test."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.connect(("127.0.0.1", ingress.port))
        peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
        for _ in range(200):
            if unread(ingress):
                break
            time.sleep(0.05)
        else:
            raise AssertionError("its answers do not wait")
        yield


@contextmanager
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def stored(bootstrap: str) -> Topics:
    return Topics(bootstrap)


async def _still_serves(ingress: Ingress) -> None:
    async with httpx.AsyncClient(base_url=ingress.url) as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post(HOOK, content=b"data%5Bid%5D=afterwards", headers=FORM)).status_code == 204


SLOW: Final = {
    "nothing but a byte a second": (b"", ()),
    "a head": (request(b"Content-Length: 60000")[:30], ()),
    "a second head": (request(b"Content-Length: 0") + request(b"Content-Length: 0")[:30], (200,)),
    "a body": (request(b"Content-Length: 60000"), (408,)),
    "chunks": (request(b"Transfer-Encoding: chunked", body=b"ffff\r\n"), (408,)),
}


async def test_every_shape_gets_its_documented_answers_and_only_accepted_bodies_are_stored(
    ingress: Ingress, stored: Topics
) -> None:
    """Odd ones and slow ones, all at once: each takes as long as the ingress's patience."""
    before = await stored.places()
    wanted = {shape.name: shape.answers for shape in SHAPES} | {name: given for name, (_, given) in SLOW.items()}
    found, slow = await asyncio.gather(
        asyncio.gather(*(ask(ingress.port, shape.sent) for shape in SHAPES)),
        asyncio.gather(*(drip(ingress.port, start) for start, _ in SLOW.values())),
    )
    given = dict(zip(wanted, [*map(statuses, found), *slow], strict=True))
    assert {name: said for name, said in given.items() if said != wanted[name]} == {}
    expected = Counter(body for shape in SHAPES for body in shape.stored)
    assert set(expected.values()) == {1}
    assert await stored.since(before) == expected
    await _still_serves(ingress)


def test_the_shapes_know_no_answer_but_documented_ones() -> None:
    assert {status for shape in SHAPES for status in shape.answers} <= DOCUMENTED
    assert not {410, 500} & DOCUMENTED
    assert not [shape.name for shape in SHAPES if SMUGGLED in shape.stored]
    said = (Path(__file__).parents[2] / "docs" / "openapi-ingress.json").read_text()
    assert "answered 400, or 431" in said


def _cut(shape: Shape) -> list[bytes]:
    """A good request without its end, at every kind of place."""
    head, _, body = shape.sent.partition(b"\r\n\r\n")
    whole = head + b"\r\n\r\n" + body
    return [whole[:at] for at in (1, len(head) // 2, len(head) + 2, len(head) + 4, len(head) + 4 + len(body) // 2, -1)]


async def test_requests_that_break_off_are_closed_or_400_and_not_stored(ingress: Ingress, stored: Topics) -> None:
    whole = b"data%5Bid%5D=broken-off"
    requests = (
        Shape("a length", request(b"Content-Length: %d" % len(whole), body=whole), (204,)),
        Shape("chunks", request(b"Transfer-Encoding: chunked", body=chunks(whole[:9], whole[9:])), (204,)),
    )
    before = await stored.places()
    found = await asyncio.gather(
        *(ask(ingress.port, part, half_close=True) for shape in requests for part in _cut(shape))
    )
    assert {statuses(answer) for answer in found} <= {(), (400,)}
    assert not await stored.since(before)
    await _still_serves(ingress)


def _peak(pid: int) -> int:
    [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024


@pytest.mark.parametrize(("path", "kind", "cap"), [(HOOK, FORM, 64 << 10), (COHORTS, JSON, 8 * MIB)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_64_mib_is_413_and_is_never_held(
    ingress: Ingress, path: str, kind: dict[str, str], cap: int, chunked: bool
) -> None:
    [worker] = ingress.workers()
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak is counted from here
    before = _peak(worker)
    piece = b"x" * MIB
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (64 * MIB)
    kind_line = f"Content-Type: {kind['content-type']}".encode()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n%b\r\n\r\n" % (path.encode(), kind_line, length)
    pieces = [b"%x\r\n%b\r\n" % (MIB, piece) if chunked else piece] * 64
    with socket.create_connection(("127.0.0.1", ingress.port)) as peer:
        peer.settimeout(20)
        found = b""
        try:
            peer.sendall(head)
            for each in pieces:
                peer.sendall(each)
        except ConnectionError:
            pass  # it has stopped listening
        try:
            while data := peer.recv(65536):
                found += data
        except ConnectionError:
            pass
    # Whoever sends on after 16 MiB more may lose the answer to the reset that ends it.
    assert statuses(found) in {(413,), ()}
    # What is held of it: as much as the cap, twice while it is joined, and what a server's buffers take.
    assert _peak(worker) - before < 3 * cap + 12 * MIB


async def test_ten_thousand_silent_connections_keep_nobody_waiting(ingress: Ingress, stored: Topics) -> None:
    """Every one of them is taken and none is closed for it, as far as this machine's limit of open files goes."""
    before = await stored.places()
    sent = [b"data%%5Bid%%5D=beside-%d" % number for number in range(20)]
    with _many_files():
        count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
        peers = []
        try:
            for _ in range(count):
                peer = socket.socket()
                peers.append(peer)
                peer.setblocking(False)
                peer.connect_ex(("127.0.0.1", ingress.port))
            async with httpx.AsyncClient(base_url=ingress.url, timeout=20) as client:
                for body in sent:
                    answer = await client.post(HOOK, content=body, headers={**FORM, "connection": "close"})
                    assert answer.status_code == 204
            taken = sum(peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for peer in peers)
        finally:
            for peer in peers:
                peer.close()
    print(f"{taken} silent connections at once")
    assert taken == count
    assert await stored.since(before) == Counter(sent)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name != "silent"], ids=lambda kind: kind.name)
async def test_others_are_served_and_stored_during(kind: Kind, ingress: Ingress, stored: Topics) -> None:
    """No speed here: `python -m bench abuse` measures that. Every regular request is answered 204, and in the topic once."""
    before = await stored.places()
    attack = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.attacks", kind.name, str(ingress.port), "1", HOOK,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    sent: list[bytes] = []
    async with httpx.AsyncClient(base_url=ingress.url, headers=FORM, timeout=20) as client:
        while attack.returncode is None:
            fresh = {"connection": "close"} if len(sent) % 2 else {}
            body = f"data%5Bid%5D={kind.name}-{len(sent)}".encode()
            assert (await client.post(HOOK, content=body, headers=fresh)).status_code == 204
            sent.append(body)
            await asyncio.sleep(0.01)
    out, _ = await attack.communicate()
    assert attack.returncode == 0
    assert json.loads(out)["opened"] > 0, "there was an attack"
    assert sent
    assert await stored.since(before) == Counter(sent), "and nothing of what the attack sent"


async def test_who_does_not_read_its_answers_is_let_go(ingress: Ingress) -> None:
    async with asyncio.timeout(30):
        while unread(ingress):
            await asyncio.sleep(0.2)
    await _still_serves(ingress)
