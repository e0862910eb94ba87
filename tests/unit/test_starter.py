"""The settings file that `init` writes: it loads as it stands, its secrets are strong, and it replaces nothing unasked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from listwire import starter
from listwire.errors import SettingsError
from listwire.settings import Settings, load


def written(tmp_path: Path, start: starter.Starter) -> Settings:
    path = tmp_path / "listwire.toml"
    starter.write(path, start.render(), force=False)
    return load(path, environ={})


def test_the_file_loads_as_it_stands_and_names_what_must_be_filled_in(tmp_path: Path) -> None:
    start = starter.Starter()
    settings = written(tmp_path, start)
    assert settings.kafka.bootstrap_servers is None
    assert [s.get_secret_value() for s in settings.sources["newsletter"].secrets] == [start.webhook_secret]
    assert settings.console.login is not None
    assert settings.console.login.get_secret_value() == start.console_token
    assert list(starter.placeholders(settings)) == ["amplitude.product.api_key", "sources.newsletter.audience"]
    assert settings.cohort_syncs == {}


def test_what_is_known_is_filled_in_and_no_placeholder_is_left(tmp_path: Path) -> None:
    (tmp_path / "amplitude").write_text("0123456789abcdef\n")
    (tmp_path / "mail chimp'\"").write_text("key-us6\n")
    start = starter.Starter(
        bootstrap="kafka-1:9092,kafka-2:9092",
        amplitude_key_file=tmp_path / "amplitude",
        region="eu",
        mailchimp_key_file=tmp_path / "mail chimp'\"",
        audience="a6b5da1054",
        source="daily-news",
        public_url="https://hooks.example.com",
    )
    settings = written(tmp_path, start)
    assert list(starter.placeholders(settings)) == []
    assert settings.kafka.bootstrap_servers == "kafka-1:9092,kafka-2:9092"
    assert settings.amplitude["product"].region == "eu"
    assert settings.amplitude["product"].key.get_secret_value() == "0123456789abcdef"
    assert settings.mailchimp["acme"].root == "https://us6.api.mailchimp.com"
    assert settings.sources["daily-news"].mailchimp == "acme"
    assert settings.cohort_syncs["daily-news"].audience == "a6b5da1054"
    assert start.webhook_url() == f"https://hooks.example.com/webhooks/mailchimp/daily-news/{start.webhook_secret}"
    assert (
        start.cohort_url() == f"https://hooks.example.com/webhooks/amplitude/cohorts/daily-news/{start.cohort_secret}"
    )


def test_the_commented_tables_load_too_once_the_marks_are_taken_away(tmp_path: Path) -> None:
    """Every commented line that looks like TOML is a line a person may uncomment."""
    (tmp_path / "key").write_text("key-us6")
    text = (
        starter.Starter(audience="a6b5da1054").render().replace("/run/secrets/mailchimp-api-key", str(tmp_path / "key"))
    )
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        is_toml = bare.startswith("[") or " = " in bare.partition("#")[0]
        hidden = any(word in bare for word in ("sasl_", "ssl_", "security_protocol"))
        lines.append(bare if is_toml and not hidden else line)
    (tmp_path / "all.toml").write_text("\n".join(lines))
    settings = load(tmp_path / "all.toml", environ={})
    assert settings.sources["newsletter"].mailchimp == "acme"
    assert settings.cohort_syncs["newsletter"].email_property == "email"
    assert settings.cohort_schedules["power-users"].sync == "newsletter"
    assert settings.ingress.public_url == "https://hooks.example.com"


def test_secrets_are_long_and_never_the_same() -> None:
    secrets = {
        secret
        for start in (starter.Starter() for _ in range(50))
        for secret in (start.webhook_secret, start.cohort_secret, start.console_token)
    }
    assert len(secrets) == 150
    assert min(map(len, secrets)) >= 43


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "listwire.toml"
    starter.write(path, "text", force=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["listwire.toml"]


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "listwire.toml"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="exists already"):
        starter.write(path, "theirs", force=False)
    assert path.read_text() == "mine"
    starter.write(path, "theirs", force=True)
    assert path.read_text() == "theirs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["listwire.toml"]


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "listwire.toml"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="exists already"):
        starter.write(path, "theirs", force=False)
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        starter.write(tmp_path / "no" / "listwire.toml", "text", force=False)
