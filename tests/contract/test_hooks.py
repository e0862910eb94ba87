"""Webhooks that mend themselves, against Mailchimp's stand-in, which checks a URL with a real GET before it takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from listwire import hooks
from listwire.errors import ListwireError, SettingsError
from listwire.settings import Settings, load
from sandbox.faults import Fault
from sandbox.mailchimp import MailchimpStandIn
from tests.contract.commands import listwire
from vendors.mailchimp import Mailchimp

SECRET = "a-secret/with a slash"


@pytest.fixture
async def public() -> AsyncIterator[str]:
    """A public URL: answers 200 to whatever Mailchimp asks below /webhooks/."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.path.startswith("/webhooks/mailchimp/newsletter/") else 404)

    app = web.Application()
    app.router.add_route("GET", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    await runner.cleanup()


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn() as stand_in:
        yield stand_in


def settings_for(directory: Path, stand_in: MailchimpStandIn, public: str | None, secret: str = SECRET) -> Settings:
    url = f'public_url = "{public}"\n' if public else ""
    file = directory / "listwire.toml"
    file.write_text(
        f'[ingress]\n{url}[mailchimp.acme]\napi_key = "{next(iter(stand_in.api_keys))}"\nbase_url = "{stand_in.url}"\n'
        f'[amplitude.product]\napi_key = "0123456789abcdef"\n'
        f'[sources.newsletter]\nmailchimp = "acme"\namplitude = "product"\naudience = "{stand_in.audience.id}"\nsecrets = ["{secret}"]\n'
    )
    return load(file, {})


@pytest.fixture
async def client(mailchimp: MailchimpStandIn) -> AsyncIterator[Mailchimp]:
    async with Mailchimp(mailchimp.url, api_key=next(iter(mailchimp.api_keys))) as made:
        yield made


async def test_ensure_creates_a_webhook_for_users_only_and_a_second_call_changes_nothing(
    tmp_path, mailchimp, client, public
) -> None:
    settings = settings_for(tmp_path, mailchimp, public)
    assert not (await hooks.look(client, settings, "newsletter")).right
    first = await hooks.ensure(client, settings, "newsletter")
    assert first.did == "created"
    (made,) = mailchimp.audience.webhooks.values()
    assert {name for name, on in made.events.items() if on} == {"subscribe", "unsubscribe"}
    assert {name for name, on in made.sources.items() if on} == {"user"}
    before = mailchimp.calls.total()
    second = await hooks.ensure(client, settings, "newsletter")
    assert second.did == "nothing"
    assert mailchimp.calls.total() == before + 1, "only the look"


async def test_other_events_and_sources_are_reset(tmp_path, mailchimp, client, public) -> None:
    settings = settings_for(tmp_path, mailchimp, public)
    everything = {"subscribe", "unsubscribe", "profile", "cleaned"}
    await client.create_webhook(
        mailchimp.audience.id,
        hooks.wanted_url(settings, "newsletter"),
        events=everything,
        sources={"user", "admin", "api"},
    )
    state = await hooks.look(client, settings, "newsletter")
    assert any("admin" in words for words in state.drift)
    assert (await hooks.ensure(client, settings, "newsletter")).did == "reset"
    assert (await hooks.look(client, settings, "newsletter")).right
    assert len(mailchimp.audience.webhooks) == 1


async def test_a_deleted_webhook_comes_back(tmp_path, mailchimp, client, public) -> None:
    settings = settings_for(tmp_path, mailchimp, public)
    await hooks.ensure(client, settings, "newsletter")
    mailchimp.audience.webhooks.clear()
    assert (await hooks.ensure(client, settings, "newsletter")).did == "created"


async def test_a_rotated_secret_moves_the_webhook_instead_of_adding_one(tmp_path, mailchimp, client, public) -> None:
    await hooks.ensure(client, settings_for(tmp_path, mailchimp, public), "newsletter")
    rotated = settings_for(tmp_path, mailchimp, public, secret="another-secret")
    done = await hooks.ensure(client, rotated, "newsletter")
    assert done.did == "reset"
    assert "another secret" in done.changes[0]
    assert [hook.url for hook in mailchimp.audience.webhooks.values()] == [hooks.wanted_url(rotated, "newsletter")]


async def test_a_second_webhook_of_the_same_source_is_removed_and_somebody_elses_is_not(
    tmp_path, mailchimp, client, public
) -> None:
    old = settings_for(tmp_path, mailchimp, public, secret="old")
    await hooks.ensure(client, old, "newsletter")
    url = f"{public}/webhooks/mailchimp/newsletter/other"
    await client.create_webhook(mailchimp.audience.id, url, events=hooks.EVENTS, sources=hooks.SOURCES)
    done = await hooks.ensure(client, old, "newsletter")
    assert done.did == "reset"
    assert [hook.url for hook in mailchimp.audience.webhooks.values()] == [hooks.wanted_url(old, "newsletter")]


async def test_a_url_that_mailchimp_cannot_reach_ends_in_a_sentence_with_the_way_out_and_no_secret(
    tmp_path, mailchimp, client
) -> None:
    settings = settings_for(tmp_path, mailchimp, "http://127.0.0.1:1")
    with pytest.raises(ListwireError) as raised:
        await hooks.ensure(client, settings, "newsletter")
    assert "could not reach http://127.0.0.1:1/webhooks/mailchimp/newsletter/…" in str(raised.value)
    assert "slash" not in str(raised.value)


TAKEN = Fault(
    status=400, path=r"/webhooks$", method="POST", content_type="application/problem+json",
    body='{"type":"about:blank","title":"Bad Request","status":400,"detail":"Sorry, you can\'t set up multiple WebHooks for one URL","instance":"x"}',
)  # fmt: skip


async def test_a_url_that_mailchimp_has_elsewhere_ends_in_a_sentence_with_the_way_out_and_no_secret(
    tmp_path, mailchimp, client, public
) -> None:
    settings = settings_for(tmp_path, mailchimp, public)
    mailchimp.faults.add(TAKEN)
    with pytest.raises(ListwireError, match=r"has a webhook already, but audience .* lists none") as raised:
        await hooks.ensure(client, settings, "newsletter")
    assert "Give the source a secret of its own" in str(raised.value)
    assert "slash" not in str(raised.value)
    assert not mailchimp.audience.webhooks


async def test_without_a_public_url_the_key_to_write_is_named(tmp_path, mailchimp, client) -> None:
    with pytest.raises(SettingsError, match=r"ingress\.public_url"):
        await hooks.ensure(client, settings_for(tmp_path, mailchimp, None), "newsletter")


async def test_the_command_shows_drift_mends_it_and_keeps_the_signing_secret_to_itself(
    tmp_path, mailchimp, public
) -> None:
    settings_for(tmp_path, mailchimp, public)

    async def run(*arguments: str):
        return await asyncio.to_thread(listwire, "hooks", *arguments, cwd=tmp_path)

    assert (await run("ls")).code == 1
    ensured = await run("ensure")
    assert ensured.code == 0, ensured.err
    assert "was created" in ensured.out
    (made,) = mailchimp.audience.webhooks.values()
    kept = load(tmp_path / "listwire.toml", {}).sources["newsletter"].signing_secret
    assert [secret.get_secret_value() for secret in kept] == [made.signing_secret]
    listed = await run("ls", "--json")
    assert listed.code == 0
    for ran in (ensured, listed):
        assert made.signing_secret not in ran.all
        assert "slash" not in ran.all
