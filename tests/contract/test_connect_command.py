"""`listwire connect` and `listwire disconnect` as a person runs them, against the stand-in's login; no key on any output."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from aiohttp import web

from listwire.settings import load
from sandbox.mailchimp import API_KEY, AUDIENCE, MailchimpStandIn
from tests.contract.commands import Ran, listwire

SHOP = "b7c6eb2165"
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def public() -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn(audiences={AUDIENCE: "Newsletter", SHOP: "Shop"}) as stand_in:
        yield stand_in


@pytest.fixture
def folder(tmp_path: Path, mailchimp: MailchimpStandIn, public: str) -> Path:
    (tmp_path / "listwire.toml").write_text(f"""
[ingress]
public_url = "{public}"
[amplitude.product]
api_key = "{KEY}"
[connect]
client_id = "sandbox-client"
client_secret = "sandbox-secret"
login_url = "{mailchimp.url}"
api_url = "{mailchimp.url}"
""")
    return tmp_path


async def run(*arguments: str, cwd: Path, stdin: str | None = None) -> Ran:
    return await asyncio.to_thread(listwire, *arguments, cwd=cwd, stdin=stdin)


class Login:
    """`listwire connect` that waits for a browser."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "listwire", "connect", "--port", "0", "--no-browser", *arguments],
            cwd=folder, env=clean, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.shown = ""

    async def page(self) -> str:
        """Mailchimp's, once it is printed."""
        assert self.process.stderr is not None
        while not (found := re.search(r"http\S+/oauth2/authorize\S+", self.shown)):
            line = await asyncio.to_thread(self.process.stderr.readline)
            assert line, self.shown
            self.shown += line
        return found[0]

    async def end(self) -> Ran:
        out, err = await asyncio.to_thread(self.process.communicate, timeout=60)
        return Ran(self.process.returncode, out, self.shown + err)


async def at_mailchimp(page: str, **more: str) -> str:
    form = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
    async with httpx.AsyncClient() as person:
        answer = await person.post(page.partition("?")[0], data={**form, **more})
    return answer.headers["location"]


async def get(address: str) -> httpx.Response:
    async with httpx.AsyncClient() as person:
        return await person.get(address)


async def test_a_login_connects_and_no_secret_is_printed(folder: Path, mailchimp: MailchimpStandIn) -> None:
    login = Login(folder, "--audience", SHOP, "--json")
    page = await login.page()
    assert parse_qs(urlsplit(page).query)["redirect_uri"][0].startswith("http://127.0.0.1:")
    back = await get(await at_mailchimp(page))
    assert "You can close this page" in back.text
    ended = await login.end()
    assert ended.code == 0, ended.err
    said: dict[str, Any] = json.loads(ended.out)
    assert (said["source"], said["webhook"], said["fresh"], said["amplitude"]) == ("shop", "created", True, "product")
    settings = load(folder / "listwire.toml", {})
    (hook,) = mailchimp.audiences[SHOP].webhooks.values()
    secrets = [*mailchimp.account.tokens, "sandbox-secret", KEY, hook.signing_secret]
    secrets += [secret.get_secret_value() for secret in settings.sources["shop"].secrets]
    assert len(secrets) == 5
    for secret in secrets:
        assert secret not in ended.all + back.text


async def test_only_the_answer_with_the_right_state_counts_and_only_once(
    folder: Path, mailchimp: MailchimpStandIn
) -> None:
    login = Login(folder, "--audience", AUDIENCE)
    page = await login.page()
    home = parse_qs(urlsplit(page).query)["redirect_uri"][0]
    for wrong in ({"code": "c", "state": "made-up"}, {"code": "c"}, {}):
        assert (await get(f"{home}?{urlencode(wrong)}")).status_code == 403
    assert mailchimp.account.tokens == set()
    assert (await get(await at_mailchimp(page))).status_code == 200
    ended = await login.end()
    assert ended.code == 0, ended.err
    assert "Newsletter is connected: source newsletter" in ended.out


async def test_cancel_ends_it_in_one_sentence(folder: Path, mailchimp: MailchimpStandIn) -> None:
    login = Login(folder, "--audience", AUDIENCE)
    await get(await at_mailchimp(await login.page(), cancel="1"))
    ended = await login.end()
    assert ended.code == 1
    assert "somebody pressed Cancel" in ended.err
    assert not (folder / "connections.d").exists()


async def test_a_key_comes_from_stdin_or_a_file_and_twice_changes_nothing(
    folder: Path, mailchimp: MailchimpStandIn
) -> None:
    first = await run(
        "connect", "--api-key", "--audience", AUDIENCE, "--name", "letters", cwd=folder, stdin=f"{API_KEY}\n"
    )
    assert first.code == 0, first.err
    (folder / "key").write_text(API_KEY)
    second = await run("connect", "--api-key-file", "key", "--audience", AUDIENCE, cwd=folder)
    assert second.code == 0, second.err
    assert "was connected already: source letters" in second.out
    assert "is as it should be" in second.out
    third = await run("connect", "--account", "mailchimp", "--list", "--json", cwd=folder)
    assert [(each["id"], each["sources"]) for each in json.loads(third.out)] == [(AUDIENCE, ["letters"]), (SHOP, [])]
    assert API_KEY not in first.all + second.all + third.all
    assert sorted(file.name for file in (folder / "connections.d").iterdir()) == [
        "mailchimp-mailchimp.toml",
        "source-letters.toml",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--api-key",), "Which audience? --audience ID"),
        (("--api-key", "--audience", "nobody"), "has no audience 'nobody'"),
        (("--api-key", "--audience", AUDIENCE, "--amplitude", "nope"), "no Amplitude project 'nope'"),
        (("--api-key", "--account", "x"), "One way is enough"),
        (("--account", "x"), "no Mailchimp account 'x'"),
        (("--api-key", "--audience", AUDIENCE, "--name", "Not A Name"), "is no name for a source"),
    ],
)
async def test_what_is_wrong_is_told_with_exit_code_2_and_writes_nothing(
    folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    ran = await run("connect", *arguments, cwd=folder, stdin=f"{API_KEY}\n")
    assert ran.code == 2, ran.all
    assert words in ran.err
    assert API_KEY not in ran.all
    assert not (folder / "connections.d").exists()


async def test_without_a_public_url_the_line_to_write_is_named(folder: Path) -> None:
    file = folder / "listwire.toml"
    file.write_text(re.sub(r"public_url.*", "", file.read_text()))
    ran = await run("connect", "--api-key", cwd=folder, stdin=f"{API_KEY}\n")
    assert ran.code == 2
    assert "Write under [ingress]: public_url" in ran.err


# disconnect ---------------------------------------------------------------------------------------------------------


async def connected(folder: Path, audience: str, name: str) -> None:
    ran = await run("connect", "--api-key", "--audience", audience, "--name", name, cwd=folder, stdin=f"{API_KEY}\n")
    assert ran.code == 0, ran.err


async def test_disconnect_takes_back_what_connect_made_and_no_more(
    folder: Path, mailchimp: MailchimpStandIn, public: str
) -> None:
    await connected(folder, AUDIENCE, "letters")
    await connected(folder, SHOP, "shop")
    audience = mailchimp.audience
    for url in (
        f"{public}/webhooks/mailchimp/others/x",
        "http://another.example/webhooks/mailchimp/letters/x",
        "https://zapier.example/hook",
    ):
        hook = next(iter(audience.webhooks.values()))
        audience.webhooks[url] = dataclasses.replace(hook, id=url, url=url)
    dry = await run("disconnect", "letters", "--dry-run", cwd=folder)
    assert "would be deleted" in dry.out
    assert len(audience.webhooks) == 4
    assert (folder / "connections.d/source-letters.toml").exists()
    ran = await run("disconnect", "letters", cwd=folder)
    assert ran.code == 0, ran.err
    assert len(audience.webhooks) == 3
    assert not any(f"{public}/webhooks/mailchimp/letters/" in hook.url for hook in audience.webhooks.values())
    assert sorted(file.name for file in (folder / "connections.d").iterdir()) == [
        "mailchimp-mailchimp.toml",
        "source-shop.toml",
    ]
    again = await run("disconnect", "letters", cwd=folder)
    assert again.code == 0
    assert "Nothing to do" in again.out
    last = await run("disconnect", "sources.shop", "--json", cwd=folder)
    assert json.loads(last.out)["known"] is True
    assert list((folder / "connections.d").iterdir()) == [], "nothing else used the account"
    assert load(folder / "listwire.toml", {}).amplitude.keys() == {"product"}
    for each in (dry, ran, again, last):
        assert API_KEY not in each.all


async def test_a_source_of_ones_own_file_is_told_by_its_lines(
    folder: Path, mailchimp: MailchimpStandIn, public: str
) -> None:
    file = folder / "listwire.toml"
    file.write_text(
        file.read_text()
        + f'[mailchimp.mine]\napi_key = "{API_KEY}"\nbase_url = "{mailchimp.url}"\n\n# the letters\n[sources.letters]\n'
        f'mailchimp = "mine"\naudience = "{AUDIENCE}"\namplitude = "product"\nsecrets = ["in-the-path"]\n\n[sources.other]\n'
        f'mailchimp = "mine"\naudience = "{SHOP}"\namplitude = "product"\nsecrets = ["in-the-path"]\n'
    )
    before = file.read_text()
    assert (await run("hooks", "ensure", cwd=folder)).code == 0
    ran = await run("disconnect", "letters", cwd=folder)
    assert ran.code == 0, ran.err
    assert mailchimp.audience.webhooks == {}
    assert len(mailchimp.audiences[SHOP].webhooks) == 1
    lines = before.splitlines()
    first = lines.index("[sources.letters]") + 1
    assert f"lines {first} to {first + 4} of " in ran.out
    assert file.read_text() == before
    assert "letters" not in "".join(each.read_text() for each in (folder / "connections.d").iterdir()), (
        "its signing secret went too"
    )


async def test_a_refused_account_does_not_keep_a_source_alive(folder: Path, mailchimp: MailchimpStandIn) -> None:
    await connected(folder, AUDIENCE, "letters")
    mailchimp.api_keys.clear()
    ran = await run("disconnect", "letters", cwd=folder)
    assert ran.code == 0, ran.err
    assert "delete the webhook there yourself" in ran.out
    assert list((folder / "connections.d").iterdir()) == []


async def test_a_mailchimp_that_is_away_changes_nothing(folder: Path, mailchimp: MailchimpStandIn) -> None:
    await connected(folder, AUDIENCE, "letters")
    await mailchimp.stop()
    ran = await run("disconnect", "letters", cwd=folder)
    assert ran.code == 1
    assert (folder / "connections.d/source-letters.toml").exists()
