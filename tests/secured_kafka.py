"""A Kafka where nobody may do anything unless it was allowed: SASL_SSL with SCRAM-SHA-512, a user for each process of ours.

Rights come and go while it runs, through the plain listener, which only this machine's administrator has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1
from aiokafka.protocol.api import Request

from listwire.acls import BY_NAME, Acl
from listwire.kafka_admin import admin_client
from listwire.settings import Settings, load
from listwire.settings.models import Kafka
from sandbox.kafka import EmbeddedKafka, SecureListener
from sandbox.mailchimp import API_KEY as MAILCHIMP_KEY

AMPLITUDE_KEY: Final = "key-of-amplitude-0123456789abcdef"
AUDIENCE: Final = "a6b5da1054"
HOOK: Final = "swordfish-swordfish-swordfish"
TOKEN: Final = "console-swordfish-0123456789"
# Kafka's own numbers, from its AclOperation and ResourceType.
OPERATIONS: Final = {
    "Read": 3,
    "Write": 4,
    "Create": 5,
    "Delete": 6,
    "Describe": 8,
    "DescribeConfigs": 10,
    "AlterConfigs": 11,
}
RESOURCES: Final = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
_LITERAL: Final = 3
_ALLOW: Final = 3
# The authorizer hears of a change from the controller, a moment after the answer.
HEARD: Final = 0.15


def password(name: str) -> str:
    return f"pass-word of {name} swordfish"


class _Create(Request[CreateAclsRequest_v1]):  # type: ignore[misc]  # aiokafka publishes no types
    """Many at once; aiokafka's own takes one."""

    API_KEY = CreateAclsRequest_v1.API_KEY

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._rows)


class _Delete(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]  # aiokafka publishes no types
    API_KEY = DeleteAclsRequest_v1.API_KEY

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._rows)


@dataclass(frozen=True)
class Secured:
    broker: EmbeddedKafka
    directory: Path

    async def allow(self, name: str, *acls: Acl) -> None:
        await self._change(_Create, name, acls)

    async def deny(self, name: str, *acls: Acl) -> None:
        await self._change(_Delete, name, acls)

    async def _change(self, kind: Any, name: str, acls: Iterable[Acl]) -> None:
        rows = [
            (
                RESOURCES[acl.resource],
                acl.name,
                _LITERAL,
                f"User:listwire-{name}",
                "*",
                OPERATIONS[acl.operation],
                _ALLOW,
            )
            for acl in acls
        ]
        async with admin_client(Kafka(bootstrap_servers=self.broker.bootstrap_servers)) as admin:
            cluster: Any = admin
            answer = await cluster._send_request(kind(rows))
        _throttle, results = answer.to_object().values()
        assert [result for result in results if result["error_code"]] == []
        await asyncio.sleep(HEARD)

    @asynccontextmanager
    async def without(self, name: str, acl: Acl) -> AsyncIterator[None]:
        await self.deny(name, acl)
        try:
            yield
        finally:
            await self.allow(name, acl)

    def config(self, name: str, more: str = "", **kafka: str) -> Path:
        """The settings file of a process, which logs in as its own user. `kafka`: keys that are to be other than right."""
        keys = {
            "bootstrap_servers": self.broker.secure_bootstrap_servers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": f"listwire-{name}",
            "sasl_password": password(name),
            "ssl_cafile": str(self.broker.certificate),
        } | kafka
        table = "\n".join(f'{key} = "{value}"' for key, value in keys.items() if value)
        path = self.directory / name / "listwire.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"""
[kafka]
{table}
[topics]
partitions = 1
[ingress]
host = "127.0.0.1"
port = 0
[worker]
host = "127.0.0.1"
port = 0
[mailchimp.acme]
api_key = "{MAILCHIMP_KEY}"
base_url = "http://127.0.0.1:1"
[sources.newsletter]
mailchimp = "acme"
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["{HOOK}"]
[cohort_syncs.daily]
mailchimp = "acme"
audience = "{AUDIENCE}"
secrets = ["{HOOK}"]
[amplitude.product]
api_key = "{AMPLITUDE_KEY}"
base_url = "http://127.0.0.1:1"
{more}""")
        return path

    def settings(self, name: str) -> Settings:
        return load(self.config(name), environ={})

    def administrator(self) -> Settings:
        """Who comes through the plain listener, and may do everything."""
        found = self.settings("topics")
        return found.model_copy(update={"kafka": Kafka(bootstrap_servers=self.broker.bootstrap_servers)})


@contextmanager
def secured_kafka(directory: Path) -> Iterator[Secured]:
    """Users for every process on the list, allowed nothing yet."""
    users = {f"listwire-{name}": password(name) for name in BY_NAME}
    with EmbeddedKafka(secure=SecureListener(users)) as broker:
        yield Secured(broker, directory)
