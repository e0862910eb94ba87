"""`listwire ingress` as a process of its own, on a broker of its own: started, asked over real HTTP, and its output kept."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
from aiokafka import AIOKafkaConsumer

from tests.integration.operations import fresh_topics, settings_of

SECRET: Final = "swordfish-for-the-newsletter"
AWKWARD: Final = "a/b ?%é+#&=~"
COHORT_SECRET: Final = "swordfish-for-the-cohorts"
SIGNING: Final = ("whsec-old-swordfish", "whsec-new-swordfish")
ALL_SECRETS: Final = (
    SECRET,
    AWKWARD,
    COHORT_SECRET,
    *SIGNING,
    "key-of-amplitude-0123456789",
    "0123456789abcdef0123456789abcdef-us6",
)

HOOK: Final = f"/webhooks/mailchimp/newsletter/{SECRET}"
SIGNED: Final = f"/webhooks/mailchimp/signed/{SECRET}"
COHORTS: Final = f"/webhooks/amplitude/cohorts/daily/{COHORT_SECRET}"
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
JSON: Final = {"content-type": "application/json"}


def settings_file(directory: Path, bootstrap: str, *, more: str = "") -> Path:
    file = directory / "listwire.toml"
    source = 'mailchimp = "acme"\naudience = "a6b5da1054"\namplitude = "product"\n'
    file.write_text(f"""
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = 2
[ingress]
host = "127.0.0.1"
port = 0
[amplitude.product]
api_key = "key-of-amplitude-0123456789"
[mailchimp.acme]
api_key = "0123456789abcdef0123456789abcdef-us6"
[sources.newsletter]
{source}secrets = ["{SECRET}", "{AWKWARD}"]
[sources.signed]
{source}secrets = ["{SECRET}"]
signing_secret = ["{SIGNING[0]}", "{SIGNING[1]}"]
signature_tolerance = 300
[cohort_syncs.daily]
mailchimp = "acme"
audience = "a6b5da1054"
secrets = ["{COHORT_SECRET}"]
{more}""")
    return file


class Ingress:
    """`output` is all it has written so far; `url` is known once `ready` has returned."""

    def __init__(self, settings: Path, log: Path, *arguments: str) -> None:
        self._log = log
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "listwire", "--config", str(settings), "ingress", *arguments],
                cwd=settings.parent,
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.port = 0

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.output.splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == event]

    def wait_until_ready(self, within: float = 30) -> None:
        end = time.monotonic() + within
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the ingress ended with {self.process.returncode}: {self.output}")
            if found := self.logged("the ingress listens"):
                self.port = found[0]["port"]
                try:
                    if httpx.get(f"{self.url}/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
            time.sleep(0.05)
        raise AssertionError(f"the ingress is not ready: {self.output}")

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            for pid in [*self.workers(), self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"the ingress did not stop: {self.output}") from None


@contextmanager
def running(settings: Path, log: Path, *arguments: str) -> Iterator[Ingress]:
    ingress = Ingress(settings, log, *arguments)
    try:
        ingress.wait_until_ready()
        yield ingress
    finally:
        ingress.stop()


@contextmanager
def whole(directory: Path, bootstrap: str) -> Iterator[Ingress]:
    """With its topics made. It must outlive what is done to it, stop when it is told to, and have shown neither a secret nor a traceback."""
    settings = settings_file(directory, bootstrap)
    asyncio.run(fresh_topics(settings_of(settings)))
    with running(settings, directory / "log") as found:
        yield found
    assert found.process.returncode == 0
    assert not [secret for secret in ALL_SECRETS if secret in found.output or quote(secret, safe="") in found.output]
    assert "Traceback" not in found.output


def raw(ingress: Ingress, *pieces: bytes, pause: float = 0.0, within: float = 12) -> bytes:
    """Sends pieces over a connection of its own, and returns all that comes back until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", ingress.port)) as connection:
        connection.settimeout(within)
        found = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while data := connection.recv(65536):
                found += data
        except TimeoutError:
            return found + b"<still open>"
        except ConnectionError as fault:
            return found + b"<" + type(fault).__name__.encode() + b">"
        return found


async def record(bootstrap: str, topic: str, request_id: str) -> tuple[bytes, bytes, dict[str, bytes]]:
    """Key, value and headers of the record with that request id."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=16 << 20
    )
    await consumer.start()
    try:
        async for message in consumer:
            headers = dict(message.headers)
            if headers["request_id"] == request_id.encode():
                return message.key, message.value, headers
    finally:
        await consumer.stop()
    raise AssertionError("no such record")
