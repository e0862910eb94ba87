"""The command line itself: where `--config` stands, how each kind of fault ends. Never with a traceback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import pytest

from listwire import __version__, cli
from listwire.cli import context
from listwire.errors import KafkaError, SettingsError


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def main(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        output = capsys.readouterr()
        assert "Traceback" not in output.out + output.err
        return Ended(int(ended.value.code or 0), output.out, output.err)

    return main


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """A command of the test's own: `probe show` prints the port of the settings, or raises what `fault` holds."""
    held: dict[str, object] = {}

    @click.group("probe")
    def command() -> None:
        pass

    @command.command("show")
    def show() -> None:
        if (fault := held.get("fault")) is not None:
            raise fault  # type: ignore[misc]
        click.echo(context.settings().ingress.port)

    module = ModuleType("listwire.cli.probe")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "listwire.cli.probe", module)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("probe", "Only in this test."))
    monkeypatch.chdir(tmp_path)
    for name in ("LISTWIRE_CONFIG", "LISTWIRE_INGRESS__PORT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "other.toml").write_text("[ingress]\nport = 7000\n")
    return held


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "other.toml", "probe", "show"],
        ["probe", "--config", "other.toml", "show"],
        ["probe", "show", "--config", "other.toml"],
        ["probe", "show", "--config=other.toml"],
        ["--config", "absent.toml", "probe", "show", "--config", "other.toml"],
    ],
)
def test_config_stands_on_either_side_of_a_command(run, probe, arguments: list[str]) -> None:
    assert run(*arguments) == Ended(0, "7000\n", "")


def test_listwire_config_and_the_folder_s_own_file_are_found(run, probe, tmp_path: Path, monkeypatch) -> None:
    assert run("probe", "show").out == "8080\n"
    (tmp_path / "listwire.toml").write_text("[ingress]\nport = 7001\n")
    assert run("probe", "show").out == "7001\n"
    monkeypatch.setenv("LISTWIRE_CONFIG", "other.toml")
    assert run("probe", "show").out == "7000\n"


def test_the_environment_wins_and_what_kubernetes_injects_does_not(run, probe, monkeypatch) -> None:
    monkeypatch.setenv("LISTWIRE_PORT", "tcp://10.0.0.1:8080")
    assert run("--config", "other.toml", "probe", "show").out == "7000\n"
    monkeypatch.setenv("LISTWIRE_INGRESS__PORT", "7002")
    assert run("--config", "other.toml", "probe", "show").out == "7002\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "`listwire --help` lists the commands"),
        (["--nope"], "--nope"),
        (["probe", "nope"], "nope"),
        (["probe", "show", "--nope"], "--nope"),
        (["probe", "show", "one-too-many"], "one-too-many"),
        (["probe", "show", "--config"], "--config"),
    ],
)
def test_wrong_usage_ends_in_one_line_and_exit_code_2(run, probe, arguments: list[str], words: str) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("listwire: ")
    assert ended.err.count("\n") == 1
    assert words in ended.err


def test_wrong_settings_end_in_one_line_and_exit_code_2(run, probe, tmp_path: Path) -> None:
    (tmp_path / "listwire.toml").write_text("[ingress]\nprot = 1\n")
    assert run("probe", "show") == Ended(
        2, "", "listwire: listwire.toml: ingress.prot: there is no such key; did you mean 'port'?\n"
    )


def test_a_file_that_is_named_but_absent_ends_with_exit_code_2(run, probe) -> None:
    assert run("probe", "show", "--config", "absent.toml").code == 2


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (SettingsError("no key"), 2, "listwire: no key\n"),
        (KafkaError("no broker"), 1, "listwire: no broker\n"),
        (click.ClickException("no file"), 1, "listwire: no file\n"),
        (click.Abort(), 1, "Stopped.\n"),
        (KeyboardInterrupt(), 1, "Stopped.\n"),
    ],
)
def test_each_kind_of_fault_has_its_exit_code(run, probe, fault: BaseException, code: int, words: str) -> None:
    probe["fault"] = fault
    ended = run("probe", "show")
    assert (ended.code, ended.err.lstrip("\n")) == (code, words)


def test_without_a_command_the_help_is_shown(run) -> None:
    ended = run()
    assert ended.code == 2
    assert ended.err.startswith("Usage: listwire")


def test_help_lists_every_command_and_imports_none(run, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [f"listwire.cli.{module.partition(':')[0]}" for module, _ in cli.COMMANDS.values()]
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    ended = run("--help")
    assert [module for module in modules if module in sys.modules] == []
    assert ended.code == 0
    for name, (_, words) in cli.COMMANDS.items():
        assert f"  {name} " in ended.out
        assert words.split()[0] in ended.out


def test_the_version_is_told(run) -> None:
    assert run("--version") == Ended(0, f"listwire, version {__version__}\n", "")


def test_a_ctrl_c_that_a_library_swallowed_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_INSIST_AFTER", 0.01)
    told = 0

    async def deaf() -> None:
        nonlocal told
        while told < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1
        raise asyncio.CancelledError

    async def interrupted() -> None:
        task = asyncio.ensure_future(context._insisting(deaf()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    context.run(interrupted())
    assert told == 3
