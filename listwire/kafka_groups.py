"""Consumer groups from outside: what they have committed and who is in them. Never joins one.

aiokafka's own call reads a group whose coordinator is still loading as one that never committed: that would make all
records lag, so the answer's error code is looked at here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import NodeNotReadyError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

T = TypeVar("T")
ATTEMPTS = 30
PAUSE = 0.25
# The words DescribeGroups uses; a group that has never existed is "Dead", like one whose offsets have expired.
STATES = ("Stable", "PreparingRebalance", "CompletingRebalance", "Empty", "Dead")
WORKING = frozenset({"Stable", "PreparingRebalance", "CompletingRebalance"})


@dataclass(frozen=True)
class Member:
    id: str
    client: str
    host: str
    partitions: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Group:
    name: str
    state: str
    members: tuple[Member, ...]
    committed: dict[tuple[str, int], int]


async def read_group(admin: AIOKafkaAdminClient, name: str) -> Group:
    """Raises aiokafka's errors."""
    coordinator = await _again(lambda: admin.find_coordinator(name))
    committed = await _again(lambda: _committed(admin, name, coordinator))
    state, members = await _again(lambda: _described(admin, name, coordinator))
    return Group(name, state, members, committed)


async def _again(ask: Callable[[], Awaitable[T]]) -> T:
    """A coordinator that is being elected, or loads, answers a moment later: in a fresh cluster the first question for
    any group makes Kafka create the topic that groups live in.
    """
    for attempt in range(ATTEMPTS):
        try:
            return await ask()
        except ClientError as fault:
            passing = fault.retriable or isinstance(fault, NodeNotReadyError)
            if not passing or attempt == ATTEMPTS - 1:
                raise
        await asyncio.sleep(PAUSE)
    raise AssertionError


async def _committed(admin: Any, name: str, coordinator: int) -> dict[tuple[str, int], int]:
    answer = await admin._send_request(OffsetFetchRequest(name, None), coordinator)
    _check(answer.error_code)
    found: dict[tuple[str, int], int] = {}
    for topic, partitions in answer.topics:
        for partition, offset, _metadata, code in partitions:
            _check(code)
            if offset >= 0:
                found[topic, partition] = offset
    return found


async def _described(admin: Any, name: str, coordinator: int) -> tuple[str, tuple[Member, ...]]:
    answer = (await admin.describe_consumer_groups([name], group_coordinator_id=coordinator))[0]
    code, _name, state, _kind, _protocol, members, *_ = answer.groups[0]
    _check(code)
    return state, tuple(
        Member(member, client, host.lstrip("/"), _assigned(assignment))
        for member, client, host, _metadata, assignment, *_ in members
    )


def _check(code: int) -> None:
    if code:
        raise for_code(code)


def _assigned(assignment: bytes) -> tuple[tuple[str, int], ...]:
    if not assignment:
        return ()
    try:
        parsed = ConsumerProtocolMemberAssignment.decode(assignment)
    except (ValueError, IndexError):
        return ()  # somebody else's protocol; who they are is still worth showing
    return tuple(sorted((topic, partition) for topic, partitions in parsed.assignment for partition in partitions))
