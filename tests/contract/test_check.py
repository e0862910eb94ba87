"""`listwire check` against both vendors' stand-ins: what is right, what is wrong and the way out; never a secret."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from wsgiref.handlers import format_date_time

import pytest
from aiohttp import web

from listwire import checks, hooks
from listwire.cli.vendor_checks import vendors
from listwire.findings import Finding, State, all_right
from listwire.settings import Settings, load
from sandbox.amplitude import AmplitudeStandIn
from sandbox.mailchimp import API_KEY, AUDIENCE, Behaviour, MailchimpStandIn
from tests.contract.commands import listwire
from vendors.mailchimp import Mailchimp

AMPLITUDE_KEY = "amplitude-key-0123456789abcdef"
SECRET = "swordfish-swordfish-swordfish"
SIGNING = "signing-secret-of-mailchimp"


@asynccontextmanager
async def server(answer: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def amplitude() -> AsyncIterator[AmplitudeStandIn]:
    async with AmplitudeStandIn(api_keys=[AMPLITUDE_KEY]) as running:
        yield running


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn() as running:
        yield running


@pytest.fixture
async def public() -> AsyncIterator[str]:
    """The ingress, as Mailchimp sees it when it checks a URL."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    async with server(answer) as url:
        yield url


def write(
    tmp_path: Path, amplitude: str, mailchimp: str, *, public: str = "", amplitude_key: str = AMPLITUDE_KEY,
    mailchimp_key: str = API_KEY, audience: str = AUDIENCE, source: str = "", more: str = "",
) -> Path:  # fmt: skip
    path = tmp_path / "listwire.toml"
    path.write_text(f"""
[amplitude.product]
api_key = "{amplitude_key}"
base_url = "{amplitude}"
[mailchimp.acme]
api_key = "{mailchimp_key}"
base_url = "{mailchimp}"
[sources.newsletter]
mailchimp = "acme"
amplitude = "product"
audience = "{audience}"
secrets = ["{SECRET}"]
{source}
[ingress]
{f'public_url = "{public}"' if public else ""}
{more}
""")
    path.chmod(0o600)
    return path


async def asked(path: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in await vendors(load(path, environ={}))}


async def register(settings: Settings, **changes: Any) -> None:
    wanted = {"events": hooks.EVENTS, "sources": hooks.SOURCES} | changes
    async with Mailchimp(settings.mailchimp["acme"].root, api_key=API_KEY) as client:
        await client.create_webhook(AUDIENCE, hooks.wanted_url(settings, "newsletter"), **wanted)


async def test_all_is_right(tmp_path: Path, amplitude, mailchimp, public) -> None:
    mailchimp.account.behaviour.signing = False
    path = write(tmp_path, amplitude.url, mailchimp.url, public=public)
    await register(load(path, environ={}))
    found = await asked(path)
    assert {check: finding.state for check, finding in found.items()} == {
        "amplitude.product": State.OK,
        "mailchimp.acme": State.OK,
        "clock": State.OK,
        f"audience {AUDIENCE}": State.OK,
        "webhook of newsletter": State.OK,
    }
    ran = await asyncio.to_thread(listwire, "check", "--config", path, cwd=tmp_path)
    assert ran.code == 0
    assert "All is right." in ran.out
    assert len(amplitude.state) == 0, "a check sends no event"


async def test_refused_keys_are_told_without_repeating_them(tmp_path: Path, amplitude, mailchimp, public) -> None:
    wrong = "wrong-key-0123456789abcdef"
    path = write(
        tmp_path, amplitude.url, mailchimp.url, public=public, amplitude_key=wrong, mailchimp_key=wrong + "-us6"
    )
    ran = await asyncio.to_thread(listwire, "check", "--json", "--config", path, cwd=tmp_path)
    assert ran.code == 1
    document = json.loads(ran.out)
    states = {each["check"]: each["state"] for each in document["findings"]}
    assert not document["ok"]
    assert states["amplitude.product"] == states["mailchimp.acme"] == "failed"
    assert states["webhook of newsletter"] == "note"
    for secret in (wrong, SECRET, API_KEY):
        assert secret not in ran.all
    assert "Traceback" not in ran.all


async def test_vendors_that_do_not_answer_are_no_refusal_but_wrong(tmp_path: Path) -> None:
    found = await asked(write(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:1"))
    assert found["amplitude.product"].state is State.FAILED
    assert "could not be asked" in found["amplitude.product"].words
    assert "could not be asked" in found["mailchimp.acme"].words
    assert found["clock"].state is State.NOTE


async def test_an_audience_that_the_account_does_not_have(tmp_path: Path, amplitude, mailchimp) -> None:
    found = await asked(write(tmp_path, amplitude.url, mailchimp.url, audience="ffffffffff"))
    finding = found["audience ffffffffff"]
    assert finding.state is State.FAILED
    assert "sources.newsletter: mailchimp.acme has no such audience" in finding.words


async def test_a_webhook_that_is_gone_or_differs(tmp_path: Path, amplitude, mailchimp, public) -> None:
    path = write(tmp_path, amplitude.url, mailchimp.url, public=public)
    gone = (await asked(path))["webhook of newsletter"]
    assert (gone.state, gone.words) == (State.FAILED, "Mailchimp has no webhook for it")
    assert gone.way_out == "`listwire hooks ensure --source newsletter`"
    await register(load(path, environ={}), events={"subscribe", "profile"})
    differs = (await asked(path))["webhook of newsletter"]
    assert differs.state is State.FAILED
    assert "its events are profile, subscribe instead of subscribe, unsubscribe" in differs.words
    assert SECRET not in differs.words


async def test_signatures_that_one_side_alone_knows_of(tmp_path: Path, amplitude, mailchimp, public) -> None:
    path = write(tmp_path, amplitude.url, mailchimp.url, public=public)
    await register(load(path, environ={}))
    unlooked = (await asked(path))["webhook of newsletter"]
    assert unlooked.state is State.NOTE
    assert unlooked.way_out == "set sources.newsletter.signing_secret"
    signed = f'signing_secret = "{SIGNING}"'
    path = write(tmp_path, amplitude.url, mailchimp.url, public=public, source=signed)
    assert (await asked(path))["webhook of newsletter"].state is State.OK


async def test_a_webhook_that_mailchimp_does_not_sign_would_be_refused(tmp_path: Path, amplitude, public) -> None:
    async with MailchimpStandIn(behaviour=Behaviour(signing=False)) as unsigned:
        path = write(tmp_path, amplitude.url, unsigned.url, public=public, source=f'signing_secret = "{SIGNING}"')
        await register(load(path, environ={}))
        finding = (await asked(path))["webhook of newsletter"]
    assert finding.state is State.FAILED
    assert "refused with 401" in finding.words


async def test_without_a_public_url_the_webhook_cannot_be_compared(tmp_path: Path, amplitude, mailchimp) -> None:
    finding = (await asked(write(tmp_path, amplitude.url, mailchimp.url)))["webhook of newsletter"]
    assert finding.state is State.NOTE
    assert "ingress.public_url is missing" in finding.words


@pytest.mark.parametrize(("ahead", "words"), [(7200, "2 h behind"), (-7200, "2 h ahead of")])
async def test_a_clock_that_is_wrong(tmp_path: Path, mailchimp, ahead: int, words: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=404, headers={"Date": format_date_time(time.time() + ahead)})

    async with server(answer) as url:
        finding = (await asked(write(tmp_path, url, mailchimp.url)))["clock"]
    assert finding.state is State.FAILED
    # A second may pass in between.
    assert words in finding.words or words.replace("2 h", "1 h 59 min") in finding.words


def here(path: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in checks.settings(load(path, environ={}), path)}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.toml"
    path.write_text("")
    return path


def test_settings_that_deliver_nothing_are_wrong(empty: Path) -> None:
    empty.chmod(0o644)
    found = here(empty)
    assert found["settings"].state is State.FAILED
    assert found["settings file"].way_out == f"chmod 600 {empty}"


def test_placeholders_short_secrets_and_shared_tags_are_named(tmp_path: Path) -> None:
    assert listwire("init", cwd=tmp_path).code == 0
    found = here(tmp_path / "listwire.toml")
    assert found["settings: amplitude.product.api_key"].state is State.FAILED
    assert found["settings: sources.newsletter.audience"].state is State.FAILED
    assert "settings file" not in found
    two = "".join(
        f'[cohort_syncs.{name}]\nmailchimp = "acme"\naudience = "a1"\nsecrets = ["short"]\n' for name in ("a", "b")
    )
    found = here(write(tmp_path, "http://a.example", "http://b.example", more=two))
    assert "a and b write tags of one audience" in found["cohort syncs"].words
    assert found["cohort_syncs.a.secrets"].state is State.NOTE


def test_the_compiled_parts_are_in_use_here() -> None:
    findings = checks.installation()
    assert [finding.check for finding in findings] == ["orjson", "uvloop", "aiokafka", "faust-streaming"]
    assert all_right(findings)


def test_parts_that_are_not_compiled_are_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:1")
    # Not forked: it is told while it imports.
    ran = subprocess.run(
        [sys.executable, "-m", "listwire", "check", "--json", "--config", path], cwd=tmp_path, stdin=subprocess.DEVNULL,
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1", "NO_CYTHON": "1"}, capture_output=True, check=False,
    )  # fmt: skip
    states = {each["check"]: each["state"] for each in json.loads(ran.stdout)["findings"]}
    assert (states["aiokafka"], states["faust-streaming"], states["orjson"]) == ("failed", "failed", "ok")
