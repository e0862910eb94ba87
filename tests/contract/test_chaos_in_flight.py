"""A kill counts only where a delivery was under way: what the chaos run takes for one, against real sockets of this process."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.faults import Faults
from sandbox.kafka import EmbeddedKafka
from tests.chaos.in_flight import LONG_AGO, InFlight
from tests.chaos.load import Post, Senders
from tests.chaos.processes import BrokerMember, Member
from tests.chaos.sockets import UnderWay, ports_of, unread
from tests.worker_process import until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """A client's end, the server's end, and the server's port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server, _ = listening.accept()
            with server:
                yield client, server, port


async def test_what_either_end_has_not_read_yet_is_counted(pair: tuple[socket.socket, socket.socket, int]) -> None:
    client, server, port = pair
    assert unread(port) == 0
    client.sendall(b"request")
    await until(lambda: unread(port) == 1)
    server.recv(100)
    assert unread(port) == 0, "the server has it now"
    server.sendall(b"answer")
    await until(lambda: unread(port) == 1)
    client.recv(100)
    assert unread(port) == 0


def test_a_socket_belongs_to_the_process_that_holds_it(pair: tuple[socket.socket, socket.socket, int]) -> None:
    client, _, port = pair
    mine = ports_of([os.getpid()])
    assert {port, client.getsockname()[1]} <= mine
    assert ports_of([os.getppid()]).isdisjoint({client.getsockname()[1]})


class Process(Member):
    """It has the sockets of this process, where it is told to."""

    mine = True

    async def start(self, skew: float = 0.0) -> None: ...

    def pids(self) -> list[int]:
        return [os.getpid()] if self.mine else []

    async def gone(self, within: float = 0.0) -> int:
        return 0

    def code(self) -> int | None:
        return None

    output = ""


async def test_the_ingress_has_what_it_has_read_and_not_answered(
    pair: tuple[socket.socket, socket.socket, int],
) -> None:
    client, server, port = pair
    senders = Senders("", "", 1)
    kafka_is_away = BrokerMember(EmbeddedKafka())
    in_flight = InFlight(UnderWay(), senders, port, kafka_is_away)
    ingress = Process("ingress", "ingress")
    assert not await in_flight.at(ingress), "nothing was sent"
    post = Post()
    senders.open.add(post)
    client.sendall(b"half a request")
    assert not await in_flight.at(ingress), "not sent to its end"
    await post.trace("http11.send_request_body.complete", {})
    post.sent_at = time.monotonic() - 2 * LONG_AGO
    await until(lambda: unread(port) == 1)
    assert not await in_flight.at(ingress), "it has not read it"
    server.recv(100)
    assert await in_flight.at(ingress)
    server.sendall(b"answer")
    await until(lambda: unread(port) == 1)
    assert not await in_flight.at(ingress), "the answer is on its way"
    client.recv(100)
    senders.open.discard(post)
    assert not await in_flight.at(ingress)


async def test_a_worker_has_what_a_stand_in_has_not_answered_over_a_socket_of_its_own(
    pair: tuple[socket.socket, socket.socket, int],
) -> None:
    client, _, port = pair
    faults = Faults()
    under_way = UnderWay(faults)
    in_flight = InFlight(under_way, Senders("", "", 1), port, BrokerMember(EmbeddedKafka()))
    worker, broker = Process("cohorts-0", "cohorts"), Process("broker", "broker")
    assert not await in_flight.at(worker)
    answered = asyncio.Event()

    async def accept(_: Any) -> Any:
        await answered.wait()
        return "answer"

    transport = SimpleNamespace(get_extra_info=lambda _: client.getsockname())
    asking = asyncio.ensure_future(vars(faults)["around"](SimpleNamespace(transport=transport), accept))
    await asyncio.sleep(0)
    assert await in_flight.at(worker)
    assert await in_flight.at(broker)
    worker.mine = False
    assert not await in_flight.at(worker), "it is another process's"
    answered.set()
    assert await asking == "answer"
    assert not await in_flight.at(broker)
