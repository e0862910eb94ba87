"""The stage of a chaos run: a broker, both vendors' stand-ins with journals on disk, and Listwire's processes by name.

The stand-ins live in this process, which nobody kills. Everything is in one directory, and stays there for whoever looks into a
broken run: settings, the output of every process, Kafka's data, the journals.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from listwire import topics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from sandbox.kafka.ports import pick_port
from sandbox.mailchimp import API_KEY, MailchimpStandIn
from sandbox.mailchimp import AUDIENCE as TAGGED_AUDIENCE
from tests.chaos import evidence as reading
from tests.chaos.evidence import Evidence
from tests.chaos.load import MEMBERS, Senders
from tests.chaos.processes import BrokerMember, IngressMember, Member, WorkerMember
from tests.chaos.schedule import WORKERS
from tests.chaos.sockets import UnderWay
from tests.integration.operations import fresh_topics, settings_of
from tests.webhook_bodies import AUDIENCE
from tests.worker_process import API_KEY as AMPLITUDE_KEY

SECRET: Final = "swordfish-for-the-chaos-run"
PARTITIONS: Final = 4
# Short, so that a run of minutes meets a parked key and a probe; all below the session's ten seconds.
SETTINGS: Final = """
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = {partitions}
[ingress]
host = "127.0.0.1"
port = {port}
[worker]
host = "127.0.0.1"
port = 0
[logs]
format = "json"
[delivery]
park_after = 3
probe_every = 2
http_timeout = 4
[amplitude.product]
api_key = "{amplitude_key}"
base_url = "{amplitude}"
[mailchimp.acme]
api_key = "{mailchimp_key}"
base_url = "{mailchimp}"
http_timeout = 5
carried_out_within = 6
[sources.newsletter]
mailchimp = "acme"
audience = "{audience}"
amplitude = "product"
secrets = ["{secret}"]
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "{tagged_audience}"
secrets = ["{secret}"]
"""


@dataclass
class Stage:
    directory: Path
    config: Path
    broker: BrokerMember
    amplitude: AmplitudeStandIn
    mailchimp: MailchimpStandIn
    port: int
    under_way: UnderWay
    members: dict[str, Member] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def set(
        cls, directory: Path, broker: EmbeddedKafka, *, latency: float = 0.2, partitions: int = PARTITIONS
    ) -> AsyncIterator[Stage]:
        """A started broker, fresh topics, no process of ours yet; all are killed at the end. The broker is the caller's."""
        port = pick_port()
        amplitude = AmplitudeStandIn(
            api_keys={AMPLITUDE_KEY},
            latency=latency,
            jitter=latency / 2,
            keep="ids",
            journal=directory / "amplitude.journal",
        )
        mailchimp = MailchimpStandIn(latency=latency, journal=directory / "mailchimp.journal")
        mailchimp.audience.seed(MEMBERS)
        async with amplitude, mailchimp:
            config = directory / "listwire.toml"
            config.write_text(
                SETTINGS.format(
                    bootstrap=broker.bootstrap_servers,
                    partitions=partitions,
                    port=port,
                    amplitude=amplitude.url,
                    amplitude_key=AMPLITUDE_KEY,
                    mailchimp=mailchimp.url,
                    mailchimp_key=API_KEY,
                    audience=AUDIENCE,
                    tagged_audience=TAGGED_AUDIENCE,
                    secret=SECRET,
                )
            )
            await fresh_topics(settings_of(config))
            under_way = UnderWay(amplitude.faults, mailchimp.faults)
            stage = cls(directory, config, BrokerMember(broker), amplitude, mailchimp, port, under_way)
            try:
                yield stage
            finally:
                amplitude.faults.release()
                mailchimp.faults.release()
                for member in stage.members.values():
                    member.wanted = False
                    member.thaw()
                    await member.kill()

    async def begin(self, *members: Member) -> None:
        for member in members:
            self.members[member.name] = member
            await member.start()

    async def begin_all(self) -> None:
        """Ingress and two workers of each kind; returns when all of them work."""
        workers = [WorkerMember(name, kind, self.config) for kind, names in WORKERS.items() for name in names]
        ingress = IngressMember(self.config)
        await self.begin(ingress, *workers)
        await asyncio.to_thread(ingress.process.wait_until_ready, 60)
        for member in workers:
            await member.worker.ready()

    def senders(self, seed: int) -> Senders:
        root = f"http://127.0.0.1:{self.port}/webhooks"
        return Senders(f"{root}/mailchimp/newsletter/{SECRET}", f"{root}/amplitude/cohorts/newsletter/{SECRET}", seed)

    # Without the ingress --------------------------------------------------------------------------------------------------

    async def store(self, topic: str, bodies: Iterable[bytes], key: bytes = b"k", partition: int | None = None) -> None:
        """Kafka's acknowledgement stands for the 2xx."""
        name, value = (topics.SOURCE, b"newsletter") if topic == topics.WEBHOOKS else (topics.SYNC, b"newsletter")
        out = AIOKafkaProducer(bootstrap_servers=settings_of(self.config).kafka.bootstrap_servers, acks="all")
        await out.start()
        try:
            for body in bodies:
                await out.send_and_wait(topic, body, key=key, headers=[(name, value)], partition=partition)
        finally:
            await out.stop()

    # At the end -----------------------------------------------------------------------------------------------------------

    async def drained(self, within: float) -> float | None:
        """Until both groups have committed all there is; how many seconds it took, None where it did not come."""
        settings = settings_of(self.config)
        ends = await reading.ends_of(settings)
        begun = time.monotonic()
        while time.monotonic() - begun < within:
            found = await reading.committed(settings, ends)
            if all(committed >= end for committed, end in found.values()):
                return round(time.monotonic() - begun, 1)
            await asyncio.sleep(0.25)
        return None

    async def at_rest(self, within: float = 30) -> None:
        """Until no worker has anything in flight: one that slept has yet to find out that others have settled it. Where that does
        not come, the accounts tell.
        """
        end = time.monotonic() + within
        while time.monotonic() < end:
            found = await self._accounts()
            if not any(c.get("in_flight", 0) for connections in found.values() for c in connections.values()):
                return
            await asyncio.sleep(0.25)

    async def evidence(self, **answered: Any) -> Evidence:
        """`answered`: `webhooks` and `changes`."""
        return await reading.collect(
            settings_of(self.config),
            self.directory,
            audience=AUDIENCE,
            members={member.address for member in self.mailchimp.audience.members.values()},
            accounts=await self._accounts(),
            leaks=self._leaks(),
            **answered,
        )

    async def _accounts(self) -> dict[str, dict[str, dict[str, float]]]:
        workers = [member for member in self.members.values() if isinstance(member, WorkerMember)]
        return {member.name: await self.accounts_of(member) for member in workers}

    def _leaks(self) -> list[str]:
        return [
            f"a secret stands in {log.name}"
            for log in sorted(self.directory.glob("*.log"))
            if any(secret in log.read_text(errors="replace") for secret in (SECRET, AMPLITUDE_KEY, API_KEY))
        ]

    async def accounts_of(self, member: WorkerMember) -> dict[str, dict[str, float]]:
        """Empty where it does not answer."""
        status, text = await member.worker.get("/metrics")
        return accounts(text) if status == 200 else {}

    def tag_calls_taken(self) -> int:
        calls = self.mailchimp.calls.items()
        return sum(count for call, count in calls if call.startswith("POST ") and call.endswith(" 200"))

    @property
    def tagged(self) -> int:
        """How many carry a tag now, over all tags."""
        return sum(len(segment.members) for segment in self.mailchimp.audience.segments.values())


def accounts(text: str) -> dict[str, dict[str, float]]:
    """`records_total` and `records_in_flight` by connection and outcome."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "listwire_records_total":
                found[sample.labels["connection"]][sample.labels["outcome"]] = sample.value
            elif sample.name == "listwire_records_in_flight":
                found[sample.labels["connection"]]["in_flight"] = sample.value
    return dict(found)
