"""The operations commands without a Kafka: wrong flags and settings end in one sentence, never in a traceback."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import pytest

from tests.contract.commands import listwire, listwire_here

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
    ran = listwire_here("init", *flags, cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.all
    assert list(tmp_path.iterdir()) == []


COMMANDS_WITH_KAFKA = [
    ["topics", "ensure"],
    ["topics", "verify"],
    ["topics", "ls", "--json"],
    ["lag"],
    ["dead-letters", "ls", "--json"],
    ["dead-letters", "show", "listwire.webhooks/0/0"],
    ["dead-letters", "replay", "--yes"],
    ["dead-letters", "export", "-"],
    ["dead-letters", "forget", "jane@x.org", "--yes"],
]


@pytest.mark.parametrize("arguments", COMMANDS_WITH_KAFKA, ids=" ".join)
def test_a_kafka_that_cannot_be_reached_is_one_sentence_and_exit_code_1(config: Path, arguments: list[str]) -> None:
    ran = listwire_here(*arguments, cwd=config.parent)
    assert ran.code == 1
    assert "Kafka at 127.0.0.1:1 cannot be used: none of these servers answers" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [*COMMANDS_WITH_KAFKA[:1], ["lag"], ["exporter"], ["check"]], ids=" ".join)
def test_a_wrong_settings_file_is_one_sentence_and_exit_code_2(config: Path, arguments: list[str]) -> None:
    config.write_text('[kafka]\nbootstrap_server = "typo:9092"\n')
    ran = listwire_here(*arguments, cwd=config.parent)
    assert ran.code == 2
    assert "did you mean 'bootstrap_servers'" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [*COMMANDS_WITH_KAFKA[:1], ["lag"], ["dead-letters", "ls"]], ids=" ".join)
def test_without_a_bootstrap_server_the_line_to_write_is_named(tmp_path: Path, arguments: list[str]) -> None:
    ran = listwire_here(*arguments, cwd=tmp_path)
    assert ran.code == 2
    assert "bootstrap_servers" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_config_stands_on_either_side(config: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = listwire_here("--config", config, "topics", "ls", cwd=elsewhere)
    after = listwire_here("topics", "ls", "--config", config, cwd=elsewhere)
    assert (before.code, before.err) == (after.code, after.err)
    assert "127.0.0.1:1" in after.err


@pytest.mark.parametrize("wrong", [["--partitions", "0"], ["--partitions", "many"]])
def test_wrong_numbers_of_partitions_are_usage_errors(config: Path, wrong: list[str]) -> None:
    ran = listwire_here("topics", "ensure", *wrong, cwd=config.parent)
    assert ran.code == 2
    assert "--partitions" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay"], "here is nobody to ask: --yes does it"),
        (["replay", "--json"], "here is nobody to ask: --yes does it"),
        (["forget", "jane@x.org"], "here is nobody to ask: --yes does it"),
        (["forget", "jane"], "is no address"),
        (["replay", "--yes", "--reason", "bad_luck"], "'connection_refused'"),
        (["replay", "--yes", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["ls", "--until", "soon"], "--until 'soon' is no time"),
        (["show"], "Missing argument 'ID|ORIGIN'"),
        (["export"], "Missing argument 'FILE'"),
        (["bury"], "No such command 'bury'"),
    ],
)
def test_wrong_flags_of_dead_letters_are_usage_errors(config: Path, arguments: list[str], words: str) -> None:
    ran = listwire_here("dead-letters", *arguments, cwd=config.parent)
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.all


@pytest.mark.parametrize("arguments", [["lag", "--interval", "0"], ["exporter", "--port", "70000"], ["check", "--fix"]])
def test_other_wrong_flags_are_usage_errors(config: Path, arguments: list[str]) -> None:
    ran = listwire_here(*arguments, cwd=config.parent)
    assert ran.code == 2
    assert "Traceback" not in ran.all


def test_a_port_of_the_exporter_that_is_taken_is_one_sentence(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = listwire_here("exporter", "--host", "127.0.0.1", "--port", port, cwd=config.parent)
    assert ran.code == 2
    assert f"exporter.port = {port} is taken by another process" in ran.err
    assert "Traceback" not in ran.all
