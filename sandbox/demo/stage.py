"""The demo's stage: a broker, both stand-ins, a settings file, and the real processes on it. All of it goes away at the end.

Its console can connect the second audience by Mailchimp's login, as a person would; the processes then start again by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from listwire import kafka_admin
from listwire.errors import SandboxError
from listwire.kafka_reader import Reader
from listwire.settings import Settings, load
from listwire.settings_watch import SettingsWatch
from listwire.supervisor import Child, Show, Supervisor
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import MailchimpStandIn

AUDIENCE, SHOP = "a6b5da1054", "b7c6eb2165"
READY_WITHIN = 60.0

SETTINGS = """\
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = 4
[amplitude.product]
api_key = "{amplitude_key}"
base_url = "{amplitude_url}"
[mailchimp.acme]
api_key = "{mailchimp_key}"
base_url = "{mailchimp_url}"
[sources.newsletter]
mailchimp = "acme"
audience = "{audience}"
amplitude = "product"
secrets = ["{secret}"]
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "{audience}"
secrets = ["{secret}"]
[ingress]
host = "127.0.0.1"
port = {ingress_port}
public_url = "http://127.0.0.1:{ingress_port}"
[worker]
host = "127.0.0.1"
[console]
port = {console_port}
token = "{token}"
workers = {workers}
[connect]
client_id = "sandbox-client"
client_secret = "sandbox-secret"
login_url = "{mailchimp_url}"
api_url = "{mailchimp_url}"
[logs]
level = "warning"
format = "console"
"""


@dataclass
class Stage:
    settings_file: Path
    settings: Settings
    secret: str
    ingress: str
    worker_status: dict[str, str]
    amplitude: AmplitudeStandIn
    mailchimp: MailchimpStandIn
    http: httpx.AsyncClient
    console: str
    token: str
    supervisor: Supervisor = field(init=False)

    def webhook_url(self, secret: str | None = None) -> str:
        return f"{self.ingress}/webhooks/mailchimp/newsletter/{secret or self.secret}"

    def cohort_url(self) -> str:
        return f"{self.ingress}/webhooks/amplitude/cohorts/newsletter/{self.secret}"

    @property
    def environment(self) -> dict[str, str]:
        return {"LISTWIRE_CONFIG": str(self.settings_file)}

    async def open_console(self) -> None:
        await self.supervisor.replace(
            [*self.supervisor.children, Child("console", ("console",), self.environment)], ["console"]
        )

    async def records_in(self, topic: str) -> int:
        """Counted in Kafka, not in any counter of ours."""
        async with Reader(self.settings.kafka) as reader:
            return sum(bounds.end for bounds in (await reader.bounds(topic)).values())

    async def outcomes(self, worker: str) -> dict[str, int]:
        """`records_total` of a worker, from its /metrics."""
        text = (await self.http.get(f"{self.worker_status[worker]}/metrics")).text
        found: dict[str, int] = {}
        for line in text.splitlines():
            if line.startswith("listwire_records_total{"):
                outcome = line.split('outcome="')[1].split('"')[0]
                found[outcome] = found.get(outcome, 0) + int(float(line.rsplit(" ", 1)[1]))
        return found


@contextlib.asynccontextmanager
async def built(say: Show) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="listwire-demo-") as directory:
        say("kafka", "starting a real Apache Kafka (fetched once, then from the cache)")
        broker = EmbeddedKafka(Path(directory) / "kafka")
        await asyncio.to_thread(broker.start)
        try:
            async with (
                AmplitudeStandIn(keep="full") as amplitude,
                MailchimpStandIn(audiences={AUDIENCE: "Newsletter", SHOP: "Shop"}) as mailchimp,
                httpx.AsyncClient(timeout=20, trust_env=False) as http,
            ):
                stage = _write(Path(directory), broker.bootstrap_servers, amplitude, mailchimp, http)
                for line in await kafka_admin.ensure(stage.settings):
                    say("topics", line)
                async with _processes(stage, say):
                    yield stage
        finally:
            await asyncio.to_thread(broker.stop)


def _write(
    directory: Path, bootstrap: str, amplitude: AmplitudeStandIn, mailchimp: MailchimpStandIn, http: httpx.AsyncClient
) -> Stage:
    secret = secrets.token_urlsafe(24)
    ingress, subscriptions, cohorts, console = _free_ports(4)
    status = {"subscriptions": f"http://127.0.0.1:{subscriptions}", "cohorts": f"http://127.0.0.1:{cohorts}"}
    page, token = f"http://127.0.0.1:{console}", secrets.token_urlsafe(12)
    mailchimp.account.oauth_clients["sandbox-client"].redirect_uris = [f"{page}/connect/callback"]
    # A webhook that comes while the ingress is started again is repeated after a second, not after a minute.
    mailchimp.behaviour.webhook_time_scale = 0.02
    file = directory / "listwire.toml"
    file.write_text(
        SETTINGS.format(
            bootstrap=bootstrap, amplitude_key=secrets.token_hex(16), amplitude_url=amplitude.url, mailchimp_key=next(iter(mailchimp.account.keys)),
            mailchimp_url=mailchimp.url, audience=AUDIENCE, secret=secret, ingress_port=ingress,
            console_port=console, token=token, workers=list(status.values()),
        )
    )  # fmt: skip
    file.chmod(0o600)
    return Stage(
        file, load(file, {}), secret, f"http://127.0.0.1:{ingress}", status, amplitude, mailchimp, http, page, token
    )


@contextlib.asynccontextmanager
async def _processes(stage: Stage, say: Show) -> AsyncIterator[None]:
    def port(worker: str) -> str:
        return stage.worker_status[worker].rsplit(":", 1)[1]

    environment = stage.environment
    stage.supervisor = Supervisor(
        [
            Child("subscriptions", ("worker", "subscriptions", "--port", port("subscriptions")), environment),
            Child("cohorts", ("worker", "cohorts", "--port", port("cohorts")), environment),
            Child("ingress", ("ingress",), environment),
        ],
        say,
    )
    running = asyncio.ensure_future(stage.supervisor.run())
    following = asyncio.ensure_future(_follow(stage, say))
    try:
        for name, root in {"ingress": stage.ingress, **stage.worker_status}.items():
            await _ready(name, root, stage.http, running)
            say(name, "ready")
        yield
    finally:
        following.cancel()
        stage.supervisor.stop()
        await running


async def _follow(stage: Stage, say: Show) -> None:
    """A connection that the console has written starts the processes again, the ingress last: what it lets in, workers must know."""
    changes: asyncio.Queue[Settings] = asyncio.Queue()
    watch = SettingsWatch(
        stage.settings, changed=changes.put_nowait, invalid=lambda words: say("listwire", words)
    ).start()
    while True:
        watch.take(await changes.get())
        again = ["subscriptions", "cohorts", "ingress"]
        say("listwire", f"a new connection; starting again, one after the other: {', '.join(again)}")
        await stage.supervisor.replace(stage.supervisor.children, again)


async def _ready(name: str, root: str, http: httpx.AsyncClient, running: asyncio.Future[int]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + READY_WITHIN
    while loop.time() < end and not running.done():
        with contextlib.suppress(httpx.HTTPError):
            if (await http.get(f"{root}/readyz")).status_code == 200:
                return
        await asyncio.sleep(0.05)
    raise SandboxError(f"The demo's {name} did not become ready in {READY_WITHIN:.0f} s; its lines are above.")


def _free_ports(amount: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(amount)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
