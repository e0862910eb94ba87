"""The console's *Connect* against the stand-in's login: who may come back, with what, how often; and that no key is shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from aiohttp import web

from console.app import make_app
from console.sessions import AWAY_SECONDS, Doorkeeper
from console.watch import Watch
from listwire.settings import Settings, load
from sandbox.mailchimp import API_KEY, AUDIENCE, MailchimpStandIn
from tests.unit.console_door import TOKEN, Time, csrf_in
from vendors import webhooks

ORIGIN = "http://127.0.0.1:8084"
SHOP = "b7c6eb2165"
KEY = "0123456789abcdef0123456789abcdef"


class Person:
    """A browser at the console: keeps its cookie, sends forms of the pages it sees."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(console.app, raise_app_exceptions=False),
            base_url=ORIGIN,
            follow_redirects=True,
        )

    async def login(self) -> Person:
        page = await self.http.get("/login")
        await self.post("/login", csrf=csrf_in(page), token=TOKEN)
        return self

    async def post(self, path: str, **fields: str) -> httpx.Response:
        headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        return await self.http.post(path, data=fields, headers=headers)

    async def form(self, path: str, **fields: str) -> httpx.Response:
        return await self.post(path, csrf=csrf_in(await self.http.get("/connect")), **fields)

    async def leaves(self) -> str:
        """Presses the button; returns Mailchimp's page."""
        return target_of(await self.form("/connect/login"))

    async def at_mailchimp(self, page: str, **more: str) -> str:
        """Logs in there and presses a button; returns where Mailchimp sends the browser."""
        form = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
        async with httpx.AsyncClient() as mailchimp:
            assert (await mailchimp.get(page)).status_code == 200
            answer = await mailchimp.post(page.partition("?")[0], data={**form, **more})
        return answer.headers["location"]

    async def arrives(self, address: str) -> httpx.Response:
        """As from another site: without the cookie, then on by the page's own refresh."""
        assert address.startswith(f"{ORIGIN}/connect/callback?")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.console.app), base_url=ORIGIN) as stranger:
            bounced = await stranger.get(address)
        assert bounced.status_code == 200
        assert "set-cookie" not in bounced.headers
        return await self.http.get(target_of(bounced))

    async def finished(self, page: httpx.Response) -> httpx.Response:
        for _ in range(200):
            if "/webhook" not in page.url.path or 'id="fault"' in page.text:
                return page
            await asyncio.sleep(0.05)
            page = await self.http.get(str(page.url))
        raise AssertionError(page.text)


def target_of(page: httpx.Response) -> str:
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1].replace("&amp;", "&")


def fault_in(page: httpx.Response) -> str:
    found = re.search(r'id="fault">(.*?)</p>', page.text)
    assert found is not None, page.text
    return found[1]


class Console:
    def __init__(self, settings: Settings) -> None:
        self.clock = Time(1_790_000_000.0)
        self.watch = Watch(settings, self.clock)
        self.doorkeeper = Doorkeeper(TOKEN, self.clock)
        self.app = make_app(settings, self.doorkeeper, self.watch, port=8084)


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
    async with MailchimpStandIn(audiences={AUDIENCE: "Letters & <b>news</b>", SHOP: "Shop"}) as stand_in:
        yield stand_in


def write_settings(directory: Path, mailchimp: MailchimpStandIn, public: str | None) -> Settings:
    url = f'public_url = "{public}"' if public else ""
    file = directory / "listwire.toml"
    file.write_text(f"""
[kafka]
bootstrap_servers = "127.0.0.1:9"
[ingress]
{url}
[amplitude.product]
api_key = "{KEY}"
[console]
token = "{TOKEN}"
[connect]
client_id = "sandbox-client"
client_secret = "sandbox-secret"
login_url = "{mailchimp.url}"
api_url = "{mailchimp.url}"
""")
    return load(file, {})


@pytest.fixture
def console(tmp_path: Path, mailchimp: MailchimpStandIn, public: str) -> Console:
    return Console(write_settings(tmp_path, mailchimp, public))


@pytest.fixture
async def person(console: Console) -> Person:
    return await Person(console).login()


async def test_the_whole_way_ends_at_the_sources_page(
    console: Console, person: Person, mailchimp: MailchimpStandIn
) -> None:
    page = await person.leaves()
    assert page.startswith(f"{mailchimp.url}/oauth2/authorize?response_type=code&client_id=sandbox-client")
    assert parse_qs(urlsplit(page).query)["redirect_uri"] == [f"{ORIGIN}/connect/callback"]
    audiences = await person.arrives(await person.at_mailchimp(page))
    assert "Which audience?" in audiences.text
    assert "Letters &amp; &lt;b&gt;news&lt;/b&gt;" in audiences.text
    projects = await person.form(audiences.url.path, audience=AUDIENCE)
    assert "Which Amplitude project?" in projects.text
    end = await person.finished(await person.form(projects.url.path, project="product", name="letters"))
    assert end.url.path == "/connections/sources.letters"
    assert "letters" in end.text
    (hook,) = mailchimp.audience.webhooks.values()
    assert "/webhooks/mailchimp/letters/" in hook.url
    assert console.watch.settings.sources["letters"].signing_secret[0].get_secret_value() == hook.signing_secret
    overview = await person.http.get("/")
    assert 'href="/connections/sources.letters"' in overview.text


async def test_no_page_on_the_way_holds_a_token_a_key_or_a_secret(
    person: Person, mailchimp: MailchimpStandIn, console: Console
) -> None:
    texts = []
    for page in (
        await person.arrives(await person.at_mailchimp(await person.leaves())),
        await person.form("/connect/key", key=API_KEY),
        await person.form("/connect/key", key=API_KEY[:-4] + "x-us6"),
    ):
        texts.append(page.text + str(page.url) + str(page.headers))
        if "/audience" in page.url.path:
            projects = await person.form(page.url.path, audience=AUDIENCE)
            wrong = await person.form(
                projects.url.path, project="", new_name="p", new_key="amplitude-key-of-mine", region="nowhere", name="x"
            )
            end = await person.finished(await person.form(projects.url.path, project="product", name="letters"))
            texts += [each.text + str(each.url) + str(each.headers) for each in (projects, wrong, end)]
    assert len(texts) == 9
    secrets = [*mailchimp.account.tokens, API_KEY, "sandbox-secret", KEY, "amplitude-key-of-mine"]
    secrets += [s.get_secret_value() for source in console.watch.settings.sources.values() for s in source.secrets]
    assert len(secrets) >= 6
    for secret in secrets:
        assert not any(secret in text for text in texts)


async def test_a_state_of_nobodys_opens_nothing(person: Person, mailchimp: MailchimpStandIn) -> None:
    """Somebody else's code, brought to this browser: their account would be connected here."""
    back = await person.at_mailchimp(await person.leaves())
    code = parse_qs(urlsplit(back).query)["code"][0]
    for state in ({"state": "made-up"}, {"state": ""}, {}):
        page = await person.arrives(f"{ORIGIN}/connect/callback?{urlencode({'code': code, **state})}")
        assert page.status_code == 403
        assert "not the answer to a login that you began here" in fault_in(page)
    assert mailchimp.account.tokens == set(), "no code was exchanged"
    assert "Which audience?" in (await person.arrives(back)).text, "the right one still counts"


async def test_a_state_is_good_once(person: Person, mailchimp: MailchimpStandIn) -> None:
    back = await person.at_mailchimp(await person.leaves())
    assert "Which audience?" in (await person.arrives(back)).text
    assert (await person.arrives(back)).status_code == 403
    assert len(mailchimp.account.tokens) == 1


async def test_a_state_is_good_for_its_session_alone(
    console: Console, person: Person, mailchimp: MailchimpStandIn
) -> None:
    other = await Person(console).login()
    await other.leaves()
    back = await person.at_mailchimp(await person.leaves())
    assert (await other.arrives(back)).status_code == 403
    assert mailchimp.account.tokens == set()


async def test_a_state_gets_old(console: Console, person: Person) -> None:
    back = await person.at_mailchimp(await person.leaves())
    console.clock.now += AWAY_SECONDS + 1
    assert (await person.arrives(back)).status_code == 403


async def test_states_are_compared_in_constant_time(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from console import sessions

    compared: list[tuple[str, str]] = []

    def same(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    await person.leaves()
    monkeypatch.setattr(sessions, "same", same)
    await person.http.get("/connect/return?code=c&state=guess")
    assert [one for one, _ in compared] == ["guess"]


async def test_who_presses_cancel_is_told_that_nothing_happened(person: Person, mailchimp: MailchimpStandIn) -> None:
    page = await person.arrives(await person.at_mailchimp(await person.leaves(), cancel="1"))
    assert page.status_code == 403
    assert "somebody pressed Cancel" in fault_in(page)
    assert mailchimp.account.tokens == set()


async def test_a_stranger_who_comes_back_is_asked_for_the_token(console: Console, mailchimp: MailchimpStandIn) -> None:
    stranger = Person(console)
    page = await stranger.arrives(f"{ORIGIN}/connect/callback?code=c&state=s")
    assert page.url.path == "/login"
    for path in ("/connect", "/connect/return?code=c&state=s", "/connect/x/audience"):
        assert (await stranger.http.get(path)).url.path == "/login"


async def test_the_callback_carries_on_only_what_mailchimp_may_say(console: Console) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(console.app), base_url=ORIGIN) as stranger:
        page = await stranger.get(
            "/connect/callback",
            params={"code": '"><script>alert(1)</script>', "url": "https://evil.example", "state": "s" * 9000},
        )
    assert "<script" not in page.text
    assert "evil.example" not in page.text
    target = target_of(page)
    assert target.startswith("/connect/return?")
    assert len(target) < 1000


async def test_a_hostile_data_centre_is_told_and_nothing_is_kept(
    person: Person, mailchimp: MailchimpStandIn, console: Console
) -> None:
    mailchimp.account.datacenter = "evil.example/#"
    page = await person.arrives(await person.at_mailchimp(await person.leaves()))
    assert "data centre that is none" in fault_in(page)
    assert "evil" not in page.text
    assert not console.watch.settings.origin.connections.exists()


async def test_an_api_key_goes_the_same_way_and_an_account_is_found_again(
    console: Console, person: Person, mailchimp: MailchimpStandIn
) -> None:
    audiences = await person.form("/connect/key", key=API_KEY)
    projects = await person.form(audiences.url.path, other=SHOP)
    assert 'value="shop"' in projects.text
    await person.finished(await person.form(projects.url.path, project="product", name="shop"))
    again = await person.form("/connect/account", account="mailchimp")
    assert "connected already: shop (to product)" in again.text
    projects = await person.form(again.url.path, audience=AUDIENCE)
    await person.finished(await person.form(projects.url.path, project="product", name="letters"))
    sources = console.watch.settings.sources
    assert {name: source.mailchimp for name, source in sources.items()} == {"shop": "mailchimp", "letters": "mailchimp"}
    assert [len(each.webhooks) for each in mailchimp.audiences.values()] == [1, 1]


async def test_the_same_pair_again_leads_to_the_source_there_is(person: Person, mailchimp: MailchimpStandIn) -> None:
    for name in ("letters", "another-name"):
        audiences = await person.form("/connect/key", key=API_KEY)
        projects = await person.form(audiences.url.path, audience=AUDIENCE)
        end = await person.finished(await person.form(projects.url.path, project="product", name=name))
        assert end.url.path == "/connections/sources.letters"
    assert len(mailchimp.audience.webhooks) == 1


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/connect/key", {"key": "nonsense"}), ("/connect/account", {"account": "nobody"})],
)
async def test_what_cannot_be_opened_is_told(person: Person, path: str, fields: dict[str, str]) -> None:
    page = await person.form(path, **fields)
    assert page.status_code == 400
    assert fault_in(page)


async def test_an_audience_must_be_one_of_the_accounts(person: Person) -> None:
    audiences = await person.form("/connect/key", key=API_KEY)
    assert "no audience with that id" in fault_in(await person.form(audiences.url.path, other="../../ping"))
    assert "Choose an audience" in fault_in(await person.form(audiences.url.path))


async def test_without_a_public_url_the_line_to_write_is_shown_and_nothing_is_written(
    tmp_path: Path, mailchimp: MailchimpStandIn
) -> None:
    console = Console(write_settings(tmp_path, mailchimp, None))
    person = await Person(console).login()
    assert "Write in the settings file under <code>[ingress]</code>" in (await person.http.get("/connect")).text
    audiences = await person.form("/connect/key", key=API_KEY)
    projects = await person.form(audiences.url.path, audience=AUDIENCE)
    assert "ingress.public_url is missing" in fault_in(
        await person.form(projects.url.path, project="product", name="letters")
    )
    assert not console.watch.settings.origin.connections.exists()


async def test_a_webhook_that_mailchimp_cannot_make_is_told_and_can_be_tried_again(
    person: Person, mailchimp: MailchimpStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailchimp.account.sender, "verify", _unreachable)
    audiences = await person.form("/connect/key", key=API_KEY)
    projects = await person.form(audiences.url.path, audience=AUDIENCE)
    page = await person.finished(await person.form(projects.url.path, project="product", name="letters"))
    assert "Mailchimp could not reach" in fault_in(page)
    monkeypatch.undo()
    page = await person.finished(await person.form("/connect/webhook", source="letters"))
    assert page.url.path == "/connections/sources.letters"
    assert len(mailchimp.audience.webhooks) == 1


async def _unreachable(_url: str) -> int:
    return 502


async def test_the_page_waits_for_the_ingress_and_says_so(
    tmp_path: Path, mailchimp: MailchimpStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "LOOK_EVERY", 0.05)
    console = Console(write_settings(tmp_path, mailchimp, "http://127.0.0.1:9"))
    person = await Person(console).login()
    audiences = await person.form("/connect/key", key=API_KEY)
    projects = await person.form(audiences.url.path, audience=AUDIENCE)
    page = await person.form(projects.url.path, project="product", name="letters")
    for _ in range(100):
        if "restart the workers, then the ingress" in page.text:
            break
        await asyncio.sleep(0.05)
        page = await person.http.get(str(page.url))
    assert "<code>listwire up</code>" in page.text
    assert 'http-equiv="refresh" content="1"' in page.text
    assert mailchimp.audience.webhooks == {}
    await console.app.state.jobs.stop()


async def test_the_pages_say_which_processes_run_with_old_settings(console: Console, person: Person) -> None:
    from console.process_metrics import Processes
    from console.worker_metrics import Said

    assert "To use them restart" not in (await person.http.get("/connect")).text
    console.watch.picture.said = Said(processes=Processes(stale=("worker", "ingress")))
    for path in ("/connect", "/"):
        page = await person.http.get(path)
        assert "To use them restart the worker, then the ingress." in " ".join(page.text.split())


async def test_who_came_by_another_name_is_led_to_the_one_mailchimp_knows(console: Console) -> None:
    transport = httpx.ASGITransport(console.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost:8084", follow_redirects=True
    ) as client:
        page = await client.get("/login")
        headers = {"origin": "http://localhost:8084"}
        await client.post("/login", data={"csrf": csrf_in(page), "token": TOKEN}, headers=headers)
        page = await client.get("/connect")
    assert 'href="http://127.0.0.1:8084/connect"' in page.text
    assert 'action="/connect/login"' not in page.text


async def test_a_draft_is_its_sessions_own(console: Console, person: Person) -> None:
    audiences = await person.form("/connect/key", key=API_KEY)
    other = await Person(console).login()
    assert (await other.http.get(audiences.url.path)).status_code == 404
