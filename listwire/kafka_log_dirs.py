"""How many bytes our topics hold on the brokers' disks: Kafka's DescribeLogDirs, which aiokafka does not have."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

_TEXT = String("utf-8")


class _Answer(Response):  # type: ignore[misc]  # aiokafka publishes no types
    API_KEY = 35
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "log_dirs",
            Array(
                ("error_code", Int16),
                ("log_dir", _TEXT),
                (
                    "topics",
                    Array(
                        ("name", _TEXT),
                        (
                            "partitions",
                            Array(
                                ("partition", Int32), ("size", Int64), ("offset_lag", Int64), ("is_future", Boolean)
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )  # fmt: skip


class _Struct(RequestStruct):  # type: ignore[misc]  # aiokafka publishes no types
    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(("topics", Array(("name", _TEXT), ("partitions", Array(Int32)))))


class _Question(Request[_Struct]):  # type: ignore[misc]  # aiokafka publishes no types
    API_KEY = 35

    def __init__(self, topics: dict[str, int]) -> None:
        self._topics = [(name, list(range(partitions))) for name, partitions in topics.items()]

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._topics)


async def topic_bytes(admin: AIOKafkaAdminClient, topics: dict[str, int]) -> dict[str, int]:
    """`topics`: name → number of partitions. All replicas count. Raises aiokafka's errors."""
    client: Any = admin
    brokers = [broker["node_id"] for broker in (await client.describe_cluster())["brokers"]]
    answers = await asyncio.gather(*(client._send_request_to_node(node, _Question(topics)) for node in brokers))
    found: dict[str, int] = defaultdict(int)
    for answer in answers:
        for code, _directory, held in answer.log_dirs:
            if code:
                raise for_code(code)
            for name, partitions in held:
                found[name] += sum(size for _partition, size, _lag, is_future in partitions if not is_future)
    return dict(found)
