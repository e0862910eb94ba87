"""The operations commands without a Kafka: wrong flags and settings end in one sentence, never in a traceback."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.contract.commands import listwire

UNREACHABLE = '[kafka]\nbootstrap_servers = "127.0.0.1:1"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "listwire.toml"
    path.write_text(UNREACHABLE)
    return path


def test_init_writes_a_file_that_every_command_can_load(tmp_path: Path) -> None:
    ran = listwire("init", "--public-url", "https://hooks.example.com/", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    secret = tomllib.loads((tmp_path / "listwire.toml").read_text())["sources"]["newsletter"]["secrets"][0]
    assert f"https://hooks.example.com/webhooks/mailchimp/newsletter/{secret}\n" in ran.out
    assert "fill in amplitude.product.api_key, sources.newsletter.audience" in ran.out
    again = listwire("init", cwd=tmp_path)
    assert again.code == 2
    assert "exists already" in again.err
    assert secret in (tmp_path / "listwire.toml").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "News Letter"], "a-z, 0-9"),
        (["--source", "a]\nb=[1"], "a-z, 0-9"),
        (["--public-url", "hooks.example.com"], "begins with http"),
        (["--amplitude-key-file", "nowhere"], "does not exist"),
        (["--region", "mars"], "'us', 'eu'"),
        (["--nonsense"], "No such option"),
    ],
)
def test_a_wrong_flag_of_init_writes_nothing(tmp_path: Path, flags: list[str], words: str) -> None:
    ran = listwire("init", *flags, cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.all
    assert list(tmp_path.iterdir()) == []


COMMANDS_WITH_KAFKA = [
    ["topics", "ensure"],
    ["topics", "verify"],
    ["topics", "ls"],
]


@pytest.mark.parametrize("arguments", COMMANDS_WITH_KAFKA, ids=" ".join)
def test_a_kafka_that_cannot_be_reached_is_one_sentence_and_exit_code_1(config: Path, arguments: list[str]) -> None:
    ran = listwire(*arguments, cwd=config.parent)
    assert ran.code == 1
    assert "Kafka at 127.0.0.1:1 cannot be used: none of these servers answers" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", COMMANDS_WITH_KAFKA, ids=" ".join)
def test_a_wrong_settings_file_is_one_sentence_and_exit_code_2(config: Path, arguments: list[str]) -> None:
    config.write_text('[kafka]\nbootstrap_server = "typo:9092"\n')
    ran = listwire(*arguments, cwd=config.parent)
    assert ran.code == 2
    assert "did you mean 'bootstrap_servers'" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", COMMANDS_WITH_KAFKA, ids=" ".join)
def test_without_a_bootstrap_server_the_line_to_write_is_named(tmp_path: Path, arguments: list[str]) -> None:
    ran = listwire(*arguments, cwd=tmp_path)
    assert ran.code == 2
    assert "bootstrap_servers" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_config_stands_on_either_side(config: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = listwire("--config", config, "topics", "ls", cwd=elsewhere)
    after = listwire("topics", "ls", "--config", config, cwd=elsewhere)
    assert (before.code, before.err) == (after.code, after.err)
    assert "127.0.0.1:1" in after.err


@pytest.mark.parametrize("wrong", [["--partitions", "0"], ["--partitions", "many"]])
def test_wrong_numbers_of_partitions_are_usage_errors(config: Path, wrong: list[str]) -> None:
    ran = listwire("topics", "ensure", *wrong, cwd=config.parent)
    assert ran.code == 2
    assert "--partitions" in ran.err
