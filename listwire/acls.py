"""What each process may do in Kafka, and not a right more: the one list, for `listwire topics acls`, the docs and the tests.

A right is here because its process fails visibly without it. Kafka's own implications are used: Read and Write imply Describe,
AlterConfigs implies DescribeConfigs, and who may write to any topic may begin an idempotent producer.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from listwire import topics
from listwire.topics import COHORT_CHANGES, COHORTS_GROUP, CONTROL, DEAD_LETTERS, SUBSCRIPTIONS_GROUP, WEBHOOKS

Resource = Literal["topic", "group", "transactional-id", "cluster"]
# The transactional id of replays and of `dead-letters forget`.
REPLAY: Final = "listwire-replay"
CLUSTER: Final = "kafka-cluster"
PRINCIPAL: Final = "User:listwire-{}"


@dataclass(frozen=True, order=True)
class Acl:
    """`operation` as Kafka spells it; names are literal, never patterns."""

    resource: Resource
    name: str
    operation: str

    def __str__(self) -> str:
        if self.resource == "cluster":
            return f"{self.operation} on the cluster"
        return f"{self.operation} on the {self.resource.replace('-', ' ')} {self.name}"


@dataclass(frozen=True)
class Process:
    """`runs`: the commands that run as this user."""

    name: str
    runs: tuple[str, ...]
    acls: tuple[Acl, ...]


def _topic(name: str, *operations: str) -> list[Acl]:
    return [Acl("topic", name, operation) for operation in operations]


def _topics(names: Iterable[str], *operations: str) -> list[Acl]:
    return [acl for name in names for acl in _topic(name, *operations)]


def _groups(operation: str, *names: str) -> list[Acl]:
    return [Acl("group", name, operation) for name in names]


_OURS: Final = tuple(topics.BY_NAME)
_LAG: Final = (*_topics((WEBHOOKS, COHORT_CHANGES), "Read"), *_groups("Describe", *topics.GROUPS))
_REPLAY: Final = (
    *_topics((WEBHOOKS, COHORT_CHANGES), "Write"),
    *_topic(DEAD_LETTERS, "Read", "Write"),
    Acl("transactional-id", REPLAY, "Write"),
)


def _worker(topic: str, group: str) -> tuple[Acl, ...]:
    return (
        *_topic(topic, "Read", "DescribeConfigs"),
        *_groups("Read", group),
        *_topic(DEAD_LETTERS, "Write", "DescribeConfigs"),
        *_topic(CONTROL, "Read"),
    )


PROCESSES: Final = tuple(
    Process(name, runs, tuple(dict.fromkeys(acls)))
    for name, runs, acls in (
        ("topics", ("topics ensure",), _topics((*_OURS, CONTROL), "Create", "Describe", "AlterConfigs")),
        ("ingress", ("ingress",), _topics((WEBHOOKS, COHORT_CHANGES), "Write", "DescribeConfigs")),
        ("worker-subscriptions", ("worker subscriptions",), _worker(WEBHOOKS, SUBSCRIPTIONS_GROUP)),
        ("worker-cohorts", ("worker cohorts",), _worker(COHORT_CHANGES, COHORTS_GROUP)),
        (
            "exporter",
            ("exporter",),
            [
                *_LAG,
                *_topic(DEAD_LETTERS, "Read"),
                *_topics(_OURS, "DescribeConfigs"),
                Acl("cluster", CLUSTER, "Describe"),
            ],
        ),
        ("console", ("console",), [*_LAG, *_topic(CONTROL, "Read"), *_REPLAY]),
        ("publisher", ("cohorts publish",), _topic(COHORT_CHANGES, "Write")),
        (
            "scheduler",
            ("cohorts sync",),
            [*_topic(COHORT_CHANGES, "Read", "Write"), *_groups("Describe", COHORTS_GROUP), *_topic(CONTROL, "Read")],
        ),
        ("replay", ("dead-letters replay",), _REPLAY),
        (
            "reader",
            ("check", "lag", "trace", "dead-letters ls", "dead-letters show", "dead-letters export", "topics verify"),
            [*_LAG, *_topic(DEAD_LETTERS, "Read"), *_topics(_OURS, "DescribeConfigs")],
        ),
    )
)  # fmt: skip
BY_NAME: Final = {process.name: process for process in PROCESSES}


def whom(process: Process, principal: str = PRINCIPAL) -> str:
    return principal.replace("{}", process.name)


def commands(process: Process, principal: str = PRINCIPAL) -> list[str]:
    """Lines for Kafka's own `kafka-acls.sh`: one for each resource."""
    who = shlex.quote(whom(process, principal))
    lines = []
    for resource, name in dict.fromkeys((acl.resource, acl.name) for acl in process.acls):
        operations = " ".join(
            f"--operation {acl.operation}" for acl in process.acls if (acl.resource, acl.name) == (resource, name)
        )
        where = f"--{resource}" if resource == "cluster" else f"--{resource} {name}"
        lines.append(
            'kafka-acls.sh --bootstrap-server "$KAFKA" --command-config admin.properties --add '
            f"--allow-principal {who} {operations} {where}"
        )
    return lines
