"""From Mailchimp's login or an API key to a connection, against the stand-in: what is asked, what is written, what is refused."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from listwire.errors import ListwireError, SettingsError
from listwire.settings import Settings, connections, load
from sandbox.amplitude.server import AmplitudeStandIn
from sandbox.mailchimp import API_KEY, AUDIENCE, MailchimpStandIn
from tests.unit.console_door import Time
from vendors import access, connecting, webhooks
from vendors.amplitude import client as amplitude_client

BACK = "http://127.0.0.1:8084/connect/callback"
SHOP = "b7c6eb2165"
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def public() -> AsyncIterator[str]:
    """A public URL that answers 200 to every webhook path."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.path.startswith("/webhooks/mailchimp/") else 404)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn(audiences={AUDIENCE: "Örtliche News!", SHOP: "Shop"}) as stand_in:
        yield stand_in


@pytest.fixture
async def settings(tmp_path: Path, mailchimp: MailchimpStandIn, public: str) -> Settings:
    return load(settings_file(tmp_path, mailchimp, public), {})


def settings_file(directory: Path, mailchimp: MailchimpStandIn, public: str | None, more: str = "") -> Path:
    url = f'public_url = "{public}"' if public else ""
    file = directory / "listwire.toml"
    file.write_text(f"""
[ingress]
{url}
[amplitude.product]
api_key = "{KEY}"
[connect]
client_id = "sandbox-client"
client_secret = "sandbox-secret"
login_url = "{mailchimp.url}"
api_url = "{mailchimp.url}"
{more}""")
    return file


async def allowed(settings: Settings, state: str = "st") -> str:
    """The code that Mailchimp's page sends back."""
    page = access.login_page(settings.connect, BACK, state)
    form = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
    async with httpx.AsyncClient() as person:
        answer = await person.post(f"{settings.connect.login_url}/oauth2/authorize", data=form)
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["state"] == [state]
    return query["code"][0]


async def opened(settings: Settings) -> access.Access:
    return await access.by_code(settings.connect, await allowed(settings), BACK)


def audience(found: access.Access, id_: str = AUDIENCE):
    chosen = found.audience(id_)
    assert chosen is not None
    return chosen


def files(settings: Settings) -> list[str]:
    return sorted(file.name for file in settings.origin.connections.glob("*"))


async def test_a_login_becomes_a_connection_whose_webhook_is_right(
    settings: Settings, mailchimp: MailchimpStandIn
) -> None:
    found = await opened(settings)
    assert (found.title, [each.name for each in found.audiences]) == ("Sandbox", ["Örtliche News!", "Shop"])
    made = await connecting.make(settings, found, audience(found), "product")
    assert (made.source, made.fresh) == ("ortliche-news", True)
    source = made.settings.sources["ortliche-news"]
    assert (source.mailchimp, source.audience, source.amplitude) == ("sandbox", AUDIENCE, "product")
    assert len(source.secrets[0].get_secret_value()) >= 32
    assert files(settings) == ["mailchimp-sandbox.toml", "source-ortliche-news.toml"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in settings.origin.connections.glob("*"))
    done = await webhooks.hooked(made.settings, made.source)
    assert done.did == "created"
    (hook,) = mailchimp.audience.webhooks.values()
    assert {name for name, on in hook.events.items() if on} == {"subscribe", "unsubscribe"}
    assert {name for name, on in hook.sources.items() if on} == {"user"}
    signing = settings.origin.load().sources["ortliche-news"].signing_secret
    assert [secret.get_secret_value() for secret in signing] == [hook.signing_secret]
    assert files(settings) == ["mailchimp-sandbox.toml", "source-ortliche-news.toml"], "beside the path's secret"


async def test_a_second_time_changes_nothing(settings: Settings, mailchimp: MailchimpStandIn) -> None:
    for _ in range(2):
        found = await opened(settings)
        made = await connecting.make(settings, found, audience(found), "product")
        done = await webhooks.hooked(made.settings, made.source)
    assert (made.fresh, done.did) == (False, "nothing")
    assert list(settings.origin.load().sources) == ["ortliche-news"]
    assert len(mailchimp.audience.webhooks) == 1


async def test_several_audiences_and_projects_share_one_account(
    settings: Settings, mailchimp: MailchimpStandIn, monkeypatch
) -> None:
    async with AmplitudeStandIn(api_keys=["new-key-of-the-shop"]) as amplitude:
        monkeypatch.setitem(amplitude_client.HOSTS, "eu", amplitude.url)
        found = await opened(settings)
        await connecting.make(settings, found, audience(found), "product")
        again = await opened(settings)
        shop = connecting.Project("shop", SecretStr("new-key-of-the-shop"), "eu")
        await connecting.make(settings, again, audience(again, SHOP), shop)
        made = await connecting.make(settings, again, audience(again, AUDIENCE), "shop")
    assert made.source == "ortliche-news-2"
    sources = made.settings.sources
    assert {name: (s.mailchimp, s.audience, s.amplitude) for name, s in sources.items()} == {
        "ortliche-news": ("sandbox", AUDIENCE, "product"),
        "shop": ("sandbox", SHOP, "shop"),
        "ortliche-news-2": ("sandbox", AUDIENCE, "shop"),
    }
    assert made.settings.amplitude["shop"].region == "eu"
    assert len({source.secrets[0].get_secret_value() for source in sources.values()}) == 3
    token = made.settings.mailchimp["sandbox"].token
    assert again.access_token is not None
    assert token == again.access_token, "the newest login counts"
    for name in sources:
        await webhooks.hooked(made.settings, name)
    assert len(mailchimp.audiences[AUDIENCE].webhooks) == 2


async def test_an_api_key_will_do(settings: Settings, mailchimp: MailchimpStandIn) -> None:
    found = await access.by_key(settings.connect, f" {API_KEY}\n")
    made = await connecting.make(settings, found, audience(found, SHOP), "product", name="my-shop")
    assert made.source == "my-shop"
    assert made.settings.mailchimp["mailchimp"].key == SecretStr(API_KEY)
    assert (await webhooks.hooked(made.settings, "my-shop")).did == "created"
    login = await opened(settings)
    made = await connecting.make(settings, login, audience(login, SHOP), "product")
    assert made.settings.mailchimp["mailchimp"].key is None, "a login takes the key's place"


@pytest.mark.parametrize(
    "key", ["", "no-suffix-at-all", "key-evil.example/#", "kéy-us6", "a b-us6", "key-us6.evil.example"]
)
async def test_what_is_no_key_goes_nowhere(settings: Settings, mailchimp: MailchimpStandIn, key: str) -> None:
    with pytest.raises(ListwireError) as raised:
        await access.by_key(settings.connect, key)
    assert not key or key not in str(raised.value)
    assert mailchimp.calls.total() == 0


async def test_a_refused_key_is_told_and_not_repeated(settings: Settings) -> None:
    wrong = secrets.token_hex(16) + "-us6"
    with pytest.raises(ListwireError, match="refuses this key") as raised:
        await access.by_key(settings.connect, wrong)
    assert wrong not in str(raised.value)


@pytest.mark.parametrize(
    "dc", ["evil.example/#", "us6.evil.example", "us6@evil.example:1", "x-us6", "", "127.0.0.1", "US6", "us6\n"]
)
async def test_a_hostile_data_centre_becomes_no_host(settings: Settings, mailchimp: MailchimpStandIn, dc: str) -> None:
    mailchimp.account.datacenter = dc
    before = sum(count for call, count in mailchimp.calls.items() if "/3.0" in call)
    with pytest.raises(ListwireError, match="data centre") as raised:
        await opened(settings)
    assert not dc or dc not in str(raised.value)
    assert before == sum(count for call, count in mailchimp.calls.items() if "/3.0" in call), (
        "nobody was asked with the token"
    )
    assert files(settings) == []


async def test_the_metadatas_own_address_is_not_believed(
    settings: Settings, mailchimp: MailchimpStandIn, monkeypatch
) -> None:
    """Without connect.api_url the data centre alone makes the host, whatever api_endpoint says."""
    asked: list[str] = []

    class Asked(access.Mailchimp):
        def __init__(self, root: str, **more: object) -> None:
            asked.append(root)
            super().__init__(mailchimp.url, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(access, "Mailchimp", Asked)
    connect = settings.connect.model_copy(update={"api_url": None})
    found = await access.by_code(connect, await allowed(settings), BACK)
    assert asked == ["https://us6.api.mailchimp.com"]
    assert "base_url" not in found.table()
    assert found.table()["datacenter"] == "us6"


async def test_a_code_is_good_once(settings: Settings) -> None:
    code = await allowed(settings)
    await access.by_code(settings.connect, code, BACK)
    with pytest.raises(ListwireError, match="Begin again") as raised:
        await access.by_code(settings.connect, code, BACK)
    assert code not in str(raised.value)


async def test_a_wrong_client_secret_is_told_with_the_key_to_mend(settings: Settings) -> None:
    connect = settings.connect.model_copy(update={"client_secret": SecretStr("another-secret")})
    with pytest.raises(ListwireError, match=r"connect\.client_secret") as raised:
        await access.by_code(connect, await allowed(settings), BACK)
    assert "another-secret" not in str(raised.value)


def test_what_comes_back_instead_of_a_code_is_told() -> None:
    assert access.denied({"code": "c", "state": "s"}) == ""
    assert "Cancel" in access.denied({"error": "access_denied", "state": "s"})
    assert "invalid_request" in access.denied({"error": "invalid_request"})
    assert access.denied({}) != ""


async def test_without_an_app_the_lines_to_write_are_named(tmp_path: Path) -> None:
    (tmp_path / "listwire.toml").write_text("")
    with pytest.raises(SettingsError, match=r"\[connect\]: client_id"):
        access.login_page(load(tmp_path / "listwire.toml", {}).connect, BACK, "s")


async def test_without_a_public_url_nothing_is_written(tmp_path: Path, mailchimp: MailchimpStandIn) -> None:
    settings = load(settings_file(tmp_path, mailchimp, None), {})
    found = await opened(settings)
    with pytest.raises(SettingsError, match=r"\[ingress\]: public_url"):
        await connecting.make(settings, found, audience(found), "product")
    assert not settings.origin.connections.exists()


async def test_a_refused_amplitude_key_leaves_nothing_behind(settings: Settings, monkeypatch) -> None:
    async with AmplitudeStandIn(api_keys=["the-right-key"]) as amplitude:
        monkeypatch.setitem(amplitude_client.HOSTS, "us", amplitude.url)
        found = await opened(settings)
        with pytest.raises(ListwireError, match="Amplitude refuses") as raised:
            await connecting.make(settings, found, audience(found), connecting.Project("new", SecretStr("a-wrong-key")))
    assert "a-wrong-key" not in str(raised.value)
    assert not settings.origin.connections.exists()


async def test_what_would_not_load_is_taken_back(settings: Settings) -> None:
    found = await opened(settings)
    file = settings.origin.file
    assert file is not None
    with pytest.raises(SettingsError):
        await connecting.make(settings, found, audience(found), "product", name="Not A Name")
    assert files(settings) == []
    connections.write(
        settings.origin.connections,
        "source-x",
        {"sources": {"x": {"audience": "a", "amplitude": "product", "secrets": ["s" * 9]}}},
    )
    with pytest.raises(SettingsError, match="already"):
        await connecting.make(settings, found, audience(found), "product", name="x")
    assert files(settings) == ["source-x.toml"]


async def test_a_persons_own_account_is_used_and_not_written_over(
    tmp_path: Path, mailchimp: MailchimpStandIn, public: str
) -> None:
    own = f"""
[mailchimp.mine]
api_key = "{API_KEY}"
base_url = "{mailchimp.url}"
[sources.first]
mailchimp = "mine"
audience = "{SHOP}"
amplitude = "product"
secrets = ["a-secret"]
"""
    settings = load(settings_file(tmp_path, mailchimp, public, own), {})
    found = await opened(settings)
    made = await connecting.make(settings, found, audience(found), "product")
    assert made.settings.sources["ortliche-news"].mailchimp == "mine"
    assert files(settings) == ["source-ortliche-news.toml"]
    by_name = await access.by_account(settings, "mine")
    assert by_name.table() == {}


async def test_the_webhook_waits_until_the_ingress_knows_the_source(
    tmp_path: Path, mailchimp: MailchimpStandIn, monkeypatch
) -> None:
    monkeypatch.setattr(webhooks, "LOOK_EVERY", 0.02)
    known = False
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if known else 404)

    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = load(settings_file(tmp_path, mailchimp, f"http://127.0.0.1:{runner.addresses[0][1]}"), {})
    found = await opened(settings)
    made = await connecting.make(settings, found, audience(found), "product")
    told: list[str] = []

    def tell(words: str) -> None:
        nonlocal known
        told.append(words)
        assert mailchimp.calls["POST /3.0/lists/*/webhooks 400"] == 0
        known = len(told) == 3

    assert (await webhooks.hooked(made.settings, made.source, tell=tell)).did == "created"
    assert "restart the workers, then the ingress" in told[0]
    await runner.cleanup()


async def test_nothing_that_is_shown_or_raised_holds_a_token(settings: Settings, caplog) -> None:
    found = await opened(settings)
    made = await connecting.make(settings, found, audience(found), "product")
    await webhooks.hooked(made.settings, made.source)
    assert found.access_token is not None
    token = found.access_token.get_secret_value()
    assert token in (settings.origin.connections / "mailchimp-sandbox.toml").read_text(), "or this test proves nothing"
    assert token not in repr(found) + repr(made) + str(found) + caplog.text
    assert token not in (settings.origin.connections / "source-ortliche-news.toml").read_text()


async def test_the_watch_tells_a_webhook_that_is_gone_from_one_that_was_changed(
    settings: Settings, mailchimp: MailchimpStandIn
) -> None:
    from listwire import metrics

    found = await opened(settings)
    made = await connecting.make(settings, found, audience(found), "product")
    await webhooks.hooked(made.settings, made.source)
    clock = Time(1000.0)
    watch = webhooks.WebhookWatch(made.settings, clock=clock)

    async def seen(later: float = webhooks.GRACE) -> tuple[float, ...]:
        await watch.look()
        clock.now += later
        await watch.look()
        return tuple(
            metric(source=made.source)._value.get() for metric in (metrics.WEBHOOK_OK, metrics.WEBHOOK_CHANGED)
        )

    assert await seen() == (1, 0)
    (hook,) = mailchimp.audience.webhooks.values()
    hook.events["profile"] = True
    assert await seen() == (0, 1)
    hook.events["profile"] = False
    assert await seen() == (1, 0)
    mailchimp.audience.webhooks.clear()
    assert await seen(10) == (1, 0), "somebody may be making it just now"
    assert await seen() == (0, 0)
    mailchimp.account.tokens.clear()
    assert await seen() == (0, 0), "who cannot ask says what was last known"


def test_names_are_made_of_what_people_call_their_audiences() -> None:
    assert connecting.slug("Été & Hiver 2026", "audience") == "ete-hiver-2026"
    assert connecting.slug("Новости", "audience") == "audience"
    assert len(connecting.slug("x" * 200, "audience")) <= connecting.LONGEST_NAME
    assert connecting.unique("shop", {"shop", "shop-2"}) == "shop-3"


def test_the_files_are_toml_that_a_person_can_read(tmp_path: Path) -> None:
    file = connections.put(tmp_path / "connections.d", "sources", "a", {"audience": "x"}, file="source-a")
    connections.put(tmp_path / "connections.d", "sources", "a", {"signing_secret": ["y"]}, file="a-signing")
    assert tomllib.loads(file.read_text()) == {"sources": {"a": {"audience": "x", "signing_secret": ["y"]}}}
    assert connections.drop(tmp_path / "connections.d", "sources", "a") == file
    assert connections.drop(tmp_path / "connections.d", "sources", "a") is None
