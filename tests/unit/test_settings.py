"""One TOML file, the environment over it; what is wrong ends in one sentence with the way out and without a secret."""

from __future__ import annotations

import tomllib
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from listwire.errors import SettingsError
from listwire.settings import Settings, load
from listwire.settings.load import EnvironmentSource, merged

WHOLE = """
[kafka]
bootstrap_servers = "broker:9092"

[amplitude.product]
api_key = "amplitude-key"

[mailchimp.acme]
api_key = "mailchimp-key-us6"

[sources.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
amplitude = "product"
secrets = ["path-secret"]

[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
secrets = "one-alone"
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str, environ: dict[str, str] | None = None) -> Settings:
        (tmp_path / "listwire.toml").write_text(text)
        return load(tmp_path / "listwire.toml", environ or {})

    return write


def fault(written, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        written(text, environ)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_file_is_read_with_the_defaults_of_the_contract(written) -> None:
    settings = written(WHOLE)
    assert settings.kafka.bootstrap_servers == "broker:9092"
    assert settings.mailchimp["acme"].root == "https://us6.api.mailchimp.com"
    assert settings.sources["newsletter"].user_id == ["email"]
    assert settings.sources["newsletter"].signature_tolerance == 4800
    assert settings.sources["newsletter"].timezone == "UTC"
    assert [s.get_secret_value() for s in settings.cohort_syncs["newsletter"].secrets] == ["one-alone"]
    assert settings.cohort_syncs["newsletter"].cohorts == ["*"]
    assert (settings.ingress.host, settings.ingress.port, settings.ingress.workers) == ("0.0.0.0", 8080, 1)
    assert settings.worker.port is None
    assert (settings.delivery.park_after, settings.delivery.max_batch_events) == (60, 1000)
    assert settings.topics.partitions == 8


def test_without_a_file_every_default_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).kafka.bootstrap_servers is None


def test_config_wins_over_listwire_config_which_wins_over_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, port in (("listwire.toml", 1), ("variable.toml", 2), ("flag.toml", 3)):
        (tmp_path / name).write_text(f"[ingress]\nport = {port}")
    assert load(None, {}).ingress.port == 1
    assert load(None, {"LISTWIRE_CONFIG": "variable.toml"}).ingress.port == 2
    assert load("flag.toml", {"LISTWIRE_CONFIG": "variable.toml"}).ingress.port == 3


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="listwire init"):
        load(tmp_path / "absent.toml", {})


@pytest.mark.parametrize(
    ("variable", "text", "found"),
    [
        ("LISTWIRE_INGRESS__PORT", "9000", lambda s: s.ingress.port == 9000),
        ("LISTWIRE_KAFKA__BOOTSTRAP_SERVERS", "other:1", lambda s: s.kafka.bootstrap_servers == "other:1"),
        ("LISTWIRE_KAFKA__BOOTSTRAP_SERVERS", '["a:1", "b:2"]', lambda s: s.kafka.bootstrap_servers == "a:1,b:2"),
        ("LISTWIRE_KAFKA__SSL_CHECK_HOSTNAME", "false", lambda s: s.kafka.ssl_check_hostname is False),
        ("LISTWIRE_SOURCES__NEWSLETTER__AUDIENCE", "123", lambda s: s.sources["newsletter"].audience == "123"),
        ("LISTWIRE_SOURCES__NEWSLETTER__USER_ID", '["merge:ID", "email"]',
         lambda s: s.sources["newsletter"].user_id == ["merge:ID", "email"]),
        ("LISTWIRE_SOURCES__NEWSLETTER__USER_ID", "email_md5", lambda s: s.sources["newsletter"].user_id == ["email_md5"]),
        ("LISTWIRE_AMPLITUDE__PRODUCT__API_KEY", "[not json", lambda s: s.amplitude["product"].key.get_secret_value() == "[not json"),
        ("LISTWIRE_AMPLITUDE__PRODUCT__API_KEY", '["a"]', lambda s: s.amplitude["product"].key.get_secret_value() == '["a"]'),
        ("LISTWIRE_AMPLITUDE__MY_OTHER__API_KEY", "k2", lambda s: s.amplitude["my-other"].key.get_secret_value() == "k2"),
        ("LISTWIRE_DELIVERY__PARK_AFTER", "1.5", lambda s: s.delivery.park_after == 1.5),
        ("LISTWIRE_LOGS__FORMAT", "json", lambda s: s.logs.format == "json"),
    ],
)  # fmt: skip
def test_the_environment_wins_over_the_file(written, variable: str, text: str, found) -> None:
    assert found(written(WHOLE, {variable: text}))


def test_a_secret_in_the_environment_wins_over_its_file_and_a_file_over_the_secret(written, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file")
    in_a_file = WHOLE.replace('api_key = "amplitude-key"', f'api_key_file = "{tmp_path / "key"}"')
    for text, environ, key in (
        (in_a_file, {}, "from-a-file"),
        (in_a_file, {"LISTWIRE_AMPLITUDE__PRODUCT__API_KEY": "from-outside"}, "from-outside"),
        (WHOLE, {"LISTWIRE_AMPLITUDE__PRODUCT__API_KEY_FILE": str(tmp_path / "key")}, "from-a-file"),
    ):
        assert written(text, environ).amplitude["product"].key.get_secret_value() == key


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_setting(written) -> None:
    injected = {
        "LISTWIRE_PORT": "tcp://10.0.0.1:8080",
        "LISTWIRE_SERVICE_HOST": "10.0.0.1",
        "LISTWIRE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "LISTWIRE_INGRESS_PORT": "tcp://10.0.0.2:8080",
        "LISTWIRE_INGRESS_SERVICE_PORT": "8080",
        "listwire_ingress__port": "9",
    }
    assert written(WHOLE, injected) == written(WHOLE)


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("LISTWIRE_INGRESS__PORT", "eighty", ["ingress.port", "'eighty'", "LISTWIRE_INGRESS__PORT=8080"]),
        ("LISTWIRE_INGRESS__PROT", "1", ["ingress.prot", "did you mean 'port'"]),
        ("LISTWIRE_INGRES__PORT", "1", ["ingres", "did you mean 'ingress'"]),
        ("LISTWIRE_SOURCES__NEWSLETTER__COLOUR", "red", ["sources.newsletter.colour", "known here are"]),
        ("LISTWIRE_SOURCES__NEWSLETTER__USER_ID", '["email"', ["JSON", '["one", "two"]']),
        ("LISTWIRE_KAFKA__A__B", "1", ["is no setting", "LISTWIRE_SECTION__KEY"]),
        ("LISTWIRE_KAFKA__", "1", ["is no setting", "LISTWIRE_SECTION__KEY"]),
        ("LISTWIRE_AMPLITUDE__API_KEY", "k", ["a name each", "[amplitude.product]"]),
    ],
)
def test_a_wrong_variable_is_named_itself(written, variable: str, text: str, words: list[str]) -> None:
    message = fault(written, WHOLE, {variable: text})
    assert message.startswith(variable)
    assert [word for word in words if word not in message] == []


SOURCE = '[amplitude.product]\napi_key = "k"\n[sources.news]\namplitude = "product"\naudience = "a"\nsecrets = ["s"]\n'


@pytest.mark.parametrize(
    ("text", "key", "way_out"),
    [
        ('[kafka]\nbootstrap_server = "x"', "kafka.bootstrap_server", "did you mean 'bootstrap_servers'?"),
        ("[kafak]\nx = 1", "kafak", "did you mean 'kafka'?"),
        ("x = 1", "x", "take the line out; known here are kafka, topics"),
        ('kafka = "localhost"', "kafka", "Write a line [kafka]"),
        ("[[sources]]\naudience = 'x'", "sources", "Write a line [sources.newsletter]"),
        ('[amplitude]\napi_key = "k"', "amplitude.api_key", "Write a line like [amplitude.product]"),
        ('[ingress]\nport = "eighty"', "ingress.port", "Write, for example: port = 8080"),
        ("[ingress]\nport = 80000", "ingress.port", "port = 8080"),
        ("[ingress]\nport = 80.5", "ingress.port", "port = 8080"),
        ('[amplitude.p]\napi_key = "k"\nregion = "asia"', "amplitude.p.region", 'region = "us"'),
        ('[amplitude.p]\nregion = "us"', "amplitude.p", 'Write under [amplitude.p]: api_key = "…"'),
        ('[amplitude.p]\napi_key = ""', "amplitude.p", 'Write under [amplitude.p]: api_key = "…"'),
        ("[amplitude.p]\napi_key = 5", "amplitude.p.api_key", 'Write, for example: api_key = "…"'),
        ('[amplitude.p]\napi_key = "k"\napi_key_file = "/k"', "amplitude.p", "keep one"),
        ('[amplitude.p]\napi_key_file = "/absent/key"', "amplitude.p", "'/absent/key' cannot be read"),
        ("[mailchimp.m]\nmax_connections = 3", "mailchimp.m", 'api_key = "…-us6"'),
        ('[mailchimp.m]\napi_key = "k-us6"\naccess_token = "t"', "mailchimp.m", "keep one"),
        ('[mailchimp.m]\napi_key = "no-ending"', "mailchimp.m", 'datacenter = "us6"'),
        ('[mailchimp.m]\naccess_token = "t"', "mailchimp.m", 'datacenter = "us6"'),
        ('[mailchimp.m]\naccess_token = "t"\ndatacenter = "US 6"', "mailchimp.m", 'datacenter = "us6"'),
        ('[mailchimp.m]\napi_key = "k-us6"\nbase_url = "us6.api"', "mailchimp.m.base_url", 'base_url = "https://'),
        ('[mailchimp.m]\napi_key = "k-us6"\nmax_connections = 11', "mailchimp.m.max_connections", "max_connections = 10"),
        ('[kafka]\nsecurity_protocol = "SASL_SSL"', "kafka", "sasl_username"),
        ('[kafka]\nsecurity_protocol = "KERBEROS"', "kafka.security_protocol", "'SASL_SSL'"),
        (SOURCE.replace('secrets = ["s"]', ""), "sources.news.secrets is missing", "Write: secrets = ["),
        (SOURCE.replace('["s"]', "[]"), "sources.news.secrets", "the list is empty"),
        (SOURCE.replace('["s"]', '["s", " "]'), "sources.news.secrets", "a secret is empty"),
        (SOURCE.replace('"a"', '""'), "sources.news.audience", 'audience = "a6b5da1054"'),
        (SOURCE.replace('"product"', '"produkt"'), "sources.news.amplitude", "(known: product)"),
        (SOURCE.replace('"product"', '"produkt"'), "sources.news.amplitude", "Write a line [amplitude.produkt]"),
        (SOURCE + 'mailchimp = "acme"', "sources.news.mailchimp", "(known: none)"),
        (SOURCE + 'user_id = "mail"', "sources.news.user_id", "email_sha256"),
        (SOURCE + "user_id = []", "sources.news.user_id", "the list is empty"),
        (SOURCE + 'timezone = "Mars/Olympus"', "sources.news.timezone", 'timezone = "UTC"'),
        (SOURCE + "signature_tolerance = 0", "sources.news.signature_tolerance", "signature_tolerance = 4800"),
        (SOURCE + 'merge_properties = "FNAME"', "sources.news.merge_properties", 'merge_properties = ["FNAME"]'),
        (SOURCE.replace("sources.news", "sources.News_1"), "sources.News_1", "a-z, 0-9 and '-'"),
        ("[delivery]\nhttp_timeout = inf", "delivery.http_timeout", "http_timeout = 8"),
        ("[delivery]\npark_after = nan", "delivery.park_after", "park_after = 60"),
        ('[logs]\nlevel = "loud"\nformat = "x"', "logs.level", "(1 more to mend after this)"),
        ("x = ", "listwire.toml", "this is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_the_key_and_the_way_out(written, text: str, key: str, way_out: str) -> None:
    message = fault(written, text)
    assert key in message
    assert way_out in message


def test_a_long_value_is_not_repeated_whole(written) -> None:
    assert len(fault(written, f'[amplitude.p]\napi_key = "k"\nregion = "{"x" * 5000}"')) < 400


@pytest.mark.parametrize("content", ["", " \n", b"\xff\xfe"])
def test_a_secret_file_without_a_secret_is_refused(written, tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / "key").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "api_key_file" in fault(written, f'[amplitude.p]\napi_key_file = "{tmp_path}/key"')


def test_a_secret_file_is_read_without_its_last_line_end(written, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    settings = written(f'[amplitude.p]\napi_key_file = "{tmp_path}/key"')
    assert settings.amplitude["p"].key.get_secret_value() == "from-a-file"


def test_a_settings_file_that_is_not_text_is_named(written, tmp_path: Path) -> None:
    (tmp_path / "listwire.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"listwire\.toml.*not UTF-8"):
        load(tmp_path / "listwire.toml", {})


def test_settings_cannot_be_changed_afterwards(written) -> None:
    with pytest.raises(ValueError, match="frozen"):
        written(WHOLE).ingress.port = 1


SECRET = "SeCrEt"
secret_texts = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=30).map(lambda s: SECRET + s)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | secret_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
SECRET_KEYS = [
    ("kafka", "sasl_password"),
    ("amplitude", "product", "api_key"),
    ("amplitude", "product", "secret_key"),
    ("mailchimp", "acme", "api_key"),
    ("mailchimp", "acme", "access_token"),
    ("sources", "newsletter", "secrets"),
    ("sources", "newsletter", "signing_secret"),
    ("cohort_syncs", "newsletter", "secrets"),
    ("console", "token"),
]


def said(tree: dict[str, Any], environ: dict[str, str]) -> str:
    """All that anybody gets to see: the settings printed in each way, or the message."""
    with mock.patch("listwire.settings.load.read_file", return_value=tree):
        try:
            settings = load("listwire.toml", environ)
        except SettingsError as error:
            return "".join(traceback.format_exception(error))
    return f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump()}"


@settings(max_examples=400)
@example(("sources",), 1, SECRET, "", {})
@example(("sources",), 1, [{"secrets": SECRET}], "", {})
@example(("amplitude", "api_key"), 2, SECRET, "", {})
@given(
    key=st.sampled_from(SECRET_KEYS),
    depth=st.integers(1, 3),
    secret=anything,
    typo=st.sampled_from(["", "x", "_file_", "s"]),
    beside=st.sampled_from([{}, {"nothing": 1}, {"ingress": {"port": "x"}}, {"sources": {"other": {"more": 1}}}]),
)
def test_no_secret_is_ever_shown(
    key: tuple[str, ...], depth: int, secret: Any, typo: str, beside: dict[str, Any]
) -> None:
    """Whatever stands at a secret's key, at a misspelt one, or in the place of a table above it."""
    at = key[:depth]
    change: Any = secret
    for step in reversed((*at[:-1], at[-1] + typo)):
        change = {step: change}
    assert SECRET not in said(merged(merged(tomllib.loads(WHOLE), beside), change), {})


@given(st.dictionaries(st.sampled_from([f"LISTWIRE_{'__'.join(k).upper()}" for k in SECRET_KEYS]), secret_texts))
def test_no_secret_of_the_environment_is_ever_shown(environ: dict[str, str]) -> None:
    assert SECRET not in said({}, environ)


def test_variables_become_a_tree() -> None:
    environ = {
        "LISTWIRE_SOURCES__MY_NEWS__USER_ID": '["email"]',
        "LISTWIRE_INGRESS__PORT": "1",
        "PATH": "/bin",
        "LISTWIRE_X": "y",
    }
    assert EnvironmentSource(environ)() == {"sources": {"my-news": {"user_id": ["email"]}}, "ingress": {"port": "1"}}
