"""Planted secrets, in every form in which one could slip out, are nowhere in what Listwire says: logs at debug, /metrics,
pages, what commands print, and every record it writes to Kafka.

Each process is given reasons to speak of them: right and wrong URLs that hold one, and a vendor who repeats the key in its refusal.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest

from listwire import topics
from listwire.kafka_reader import Reader
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from tests import ingress_process
from tests import worker_process as processes
from tests.contract.commands import listwire
from tests.exporter_process import Exporter
from tests.ingress_process import Ingress
from tests.integration.operations import fresh_topics
from tests.webhook_bodies import AUDIENCE, webhook
from tests.worker_process import Worker, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

# Awkward in a URL, in JSON and in TOML at once: what is redacted by its plain form alone would pass in another.
HOOK = "hook/ ?%é+#&=~swordfish"
OLD_HOOK = "old-hook-swordfish-0123456789"
COHORTS = "cohorts/ ?é+swordfish"
SIGNING = "whsec_c2lnbmluZy1zd29yZGZpc2g"
AMPLITUDE = "amplitude-swordfish-0123456789abcdef"
MAILCHIMP = "fedcba9876543210fedcba9876543210-us6"
CONSOLE = "console-swordfish-0123456789abcdef"
PLANTED = (HOOK, OLD_HOOK, COHORTS, SIGNING, AMPLITUDE, MAILCHIMP, CONSOLE)


def forms(secret: str) -> set[str]:
    """As it stands, percent-encoded in every usual way (once and twice), as JSON and Python write it, as Base64; lower case."""
    encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret), "".join(f"%{b:02x}" for b in secret.encode())}
    basic = {base64.b64encode(user + secret.encode()).decode() for user in (b"", b"any:", b"anystring:", b"listwire:")}
    written = {json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(secret.encode())[2:-1], secret}
    return {each.lower() for each in encoded | {quote(e, safe="") for e in encoded} | written | basic}


def leaks(text: str) -> list[str]:
    folded = text.lower()
    return [form for secret in PLANTED for form in forms(secret) if form in folded]


@pytest.mark.parametrize(
    "text",
    [
        "GET /x/hook%2F%20%3F%25%C3%A9%2B%23%26%3D~swordfish",
        "hook%2f+%3f%25%c3%a9%2b%23%26%3d~SWORDFISH",
        f"'{AMPLITUDE}'",
    ],
)
def test_the_search_finds_a_secret_in_another_form(text: str) -> None:
    assert leaks(text)


def settings_file(directory: Path, bootstrap: str, vendor: str) -> Path:
    file = directory / "listwire.toml"
    file.write_text(f"""
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = 2
[ingress]
host = "127.0.0.1"
port = 0
public_url = "https://hooks.example.com"
[worker]
host = "127.0.0.1"
port = 0
[console]
token = "{CONSOLE}"
[logs]
level = "debug"
[delivery]
park_after = 0
[amplitude.product]
api_key = "{AMPLITUDE}"
base_url = "{vendor}"
[mailchimp.acme]
api_key = "{MAILCHIMP}"
base_url = "{vendor}"
[sources.newsletter]
mailchimp = "acme"
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["{HOOK}", "{OLD_HOOK}"]
[sources.signed]
mailchimp = "acme"
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["{OLD_HOOK}"]
signing_secret = "{SIGNING}"
[cohort_syncs.daily]
mailchimp = "acme"
audience = "{AUDIENCE}"
secrets = ["{COHORTS}"]
""")
    return file


async def requests(ingress: Ingress) -> AsyncIterator[httpx.Response]:
    """Good ones first: 3 with one webhook each. Then what people and scanners do wrong with a URL that holds a secret."""
    hook, cohorts = quote(HOOK, safe=""), quote(COHORTS, safe="")
    source = "/webhooks/mailchimp/newsletter"
    async with httpx.AsyncClient(base_url=ingress.url, trust_env=False) as http:
        for number, secret in enumerate((hook, OLD_HOOK, "".join(f"%{b:02x}" for b in HOOK.encode()))):
            yield await http.post(f"{source}/{secret}", content=webhook(number), headers=ingress_process.FORM)
        for method, path in (
            ("GET", f"{source}/{hook}"), ("PUT", f"{source}/{hook}"), ("POST", f"{source}/{hook}x"), ("POST", f"{source}/{hook}/"),
            ("POST", f"{source}?secret={hook}"), ("POST", f"/webhooks/mailchimp/gone/{hook}"), ("POST", f"/{hook}"),
            ("POST", f"/webhooks/mailchimp/signed/{OLD_HOOK}"), ("POST", f"/webhooks/amplitude/cohorts/daily/{cohorts}"),
            ("POST", f"/webhooks/amplitude/cohorts/gone/{cohorts}"), ("GET", f"/metrics?{hook}"),
        ):  # fmt: skip
            headers = {**ingress_process.FORM, "authorization": f"Bearer {CONSOLE}", "referer": f"https://x/{hook}"}
            yield await http.request(method, path, content=b"not what it should be", headers=headers)
        yield await http.post(f"{source}/{hook}", content=b"\xff", headers={"content-type": "text/plain"})
        yield await http.post(f"{source}/{hook}", content=b"x" * (1 << 20), headers=ingress_process.FORM)


async def written(config: Path) -> str:
    """All that is in Listwire's topics: keys, values and headers."""
    found: list[str] = []
    async with Reader(processes.settings_of(config).kafka) as reader:
        for topic in topics.BY_NAME:
            for partition, bounds in (await reader.bounds(topic)).items():
                async for some in reader.read(topic, partition, bounds.begin, bounds.end):
                    found += [f"{r.key!r} {r.value!r} {r.headers!r}" for r in some]
    return "\n".join(found)


async def test_no_planted_secret_is_in_anything_that_listwire_says(broker: EmbeddedKafka, tmp_path: Path) -> None:
    heard: dict[str, str] = {}
    async with AmplitudeStandIn(api_keys={AMPLITUDE}) as amplitude:
        amplitude.faults.refuse_key(AMPLITUDE)
        config = settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
        await fresh_topics(processes.settings_of(config))
        ingress, worker = Ingress(config, tmp_path / "ingress.log"), Worker(config)
        try:
            await asyncio.to_thread(ingress.wait_until_ready, 60)
            await worker.ready(2)
            async with Exporter(config) as exporter:
                answers = [answer async for answer in requests(ingress)]
                assert [answer.status_code for answer in answers[:3]] == [204, 204, 204]
                assert all(
                    answer.status_code >= 400 for answer in answers[3:] if answer.request.method in {"POST", "PUT"}
                )
                heard["answers"] = "\n".join(f"{each.headers} {each.text}" for each in answers)

                # The vendor's words, which repeat the key, have come through the worker into letters.
                async def buried() -> bool:
                    return (await written(config)).count("connection_refused") >= 3

                await until(buried, 60, lambda: f"no dead letters; {worker.output}")
                for page in ("/metrics", "/healthz", "/readyz"):
                    heard[f"worker {page}"] = (await worker.get(page))[1]
                    async with httpx.AsyncClient(trust_env=False) as http:
                        heard[f"ingress {page}"] = (await http.get(ingress.url + page)).text
                        heard[f"exporter {page}"] = (await http.get(exporter.url + page)).text
                for command in (
                    ("lag", "--json"), ("check",), ("check", "--json"), ("hooks", "ls"), ("topics", "verify"),
                    ("dead-letters", "ls", "--all"), ("dead-letters", "ls", "--all", "--json"), ("dead-letters", "export", "-"),
                    ("dead-letters", "replay", "--dry-run"), ("trace", "contact1@example.com", "--json"),
                ):  # fmt: skip
                    said = await asyncio.to_thread(listwire, *command, "--config", config, cwd=tmp_path)
                    heard[" ".join(command)] = said.all
                heard["topics"] = await written(config)
        finally:
            await worker.end()
            await asyncio.to_thread(ingress.stop)
        heard |= {"worker": worker.output, "ingress": ingress.output, "exporter": exporter.output}
    assert "Invalid API key" in heard["topics"], "the refusal that repeats the key was not heard"
    assert "[redacted]" in heard["topics"]
    assert {where: found for where, words in heard.items() if (found := leaks(words))} == {}
    assert all(heard.values()), [where for where, words in heard.items() if not words]
