"""The supervisor with real child processes: `python -m listwire` is replaced by small scripts, for it is children that are the subject."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from listwire import supervisor
from listwire.supervisor import Child, Supervisor


class Heard(list):
    def __call__(self, name: str, line: str) -> None:
        self.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for who, line in self if who == name]


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `listwire` in front of ours, whose command line runs the script named by the first argument."""
    package = tmp_path / "listwire"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.05)
    return tmp_path


def script(directory: Path, name: str, text: str) -> str:
    (directory / name).write_text(text)
    return str(directory / name)


async def until(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_lines_of_all_children_are_shown_by_name_and_stop_ends_them_in_good_order(scripts: Path) -> None:
    steady = script(
        scripts,
        "steady.py",
        "import signal, time, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('ended well', flush=True), sys.exit(0)))\nprint('up', flush=True)\ntime.sleep(60)",
    )
    heard = Heard()
    roof = Supervisor([Child("one", (steady,)), Child("two", (steady,))], heard)
    running = asyncio.ensure_future(roof.run())
    await until(lambda: heard.of("one") == ["up"] and heard.of("two") == ["up"])
    pids = [process.pid for process in roof.processes.values()]
    roof.stop()
    assert await running == 0
    assert heard.of("one") == ["up", "ended well"]
    assert heard.of("two") == ["up", "ended well"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_a_child_that_is_killed_is_started_again(scripts: Path) -> None:
    steady = script(scripts, "steady.py", "import time, os\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    heard = Heard()
    roof = Supervisor([Child("one", (steady,))], heard)
    running = asyncio.ensure_future(roof.run())
    await until(lambda: len(heard.of("one")) == 1)
    os.kill(int(heard.of("one")[0]), signal.SIGKILL)
    await until(lambda: len(heard.of("one")) == 2)
    assert "one ended with SIGKILL" in heard.of("listwire")[0]
    roof.stop()
    assert await running == 0


async def test_wrong_settings_end_everything_at_once(scripts: Path) -> None:
    wrong = script(scripts, "wrong.py", "import sys\nprint('listwire: no such key')\nsys.exit(2)")
    steady = script(scripts, "steady.py", "import time\ntime.sleep(60)")
    heard = Heard()
    code = await asyncio.wait_for(Supervisor([Child("bad", (wrong,)), Child("good", (steady,))], heard).run(), 30)
    assert code == 1
    assert heard.of("bad") == ["listwire: no such key"]
    assert any("bad cannot run" in line for line in heard.of("listwire"))


async def test_a_child_that_ignores_sigterm_is_killed_in_the_end(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_WITHIN", 0.3)
    deaf = script(
        scripts,
        "deaf.py",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)",
    )
    heard = Heard()
    roof = Supervisor([Child("deaf", (deaf,))], heard)
    running = asyncio.ensure_future(roof.run())
    await until(lambda: heard.of("deaf") == ["up"])
    pid = roof.processes["deaf"].pid
    roof.stop()
    assert await asyncio.wait_for(running, 20) == 0
    assert not Path(f"/proc/{pid}").exists()


async def test_a_line_longer_than_memory_should_hold_is_left_out_and_the_next_one_shown(scripts: Path) -> None:
    loud = script(scripts, "loud.py", "print('x' * 3_000_000)\nprint('after', flush=True)\nimport time; time.sleep(60)")
    heard = Heard()
    roof = Supervisor([Child("loud", (loud,))], heard)
    running = asyncio.ensure_future(roof.run())
    await until(lambda: "after" in heard.of("loud"))
    assert max(map(len, heard.of("loud"))) <= 2 << 20
    roof.stop()
    await running


def test_children_get_no_secret_on_their_command_line() -> None:
    from listwire.cli.up import processes
    from listwire.settings import load

    environment = {
        "LISTWIRE_AMPLITUDE__P__API_KEY": "k-secret", "LISTWIRE_SOURCES__N__AUDIENCE": "a", "LISTWIRE_SOURCES__N__AMPLITUDE": "p",
        "LISTWIRE_SOURCES__N__SECRETS": "path-secret",
    }  # fmt: skip
    children = processes(load(os.devnull, environment))
    assert [child.name for child in children] == ["subscriptions", "exporter", "ingress"]
    fed_by_producers = {"LISTWIRE_MAILCHIMP__M__API_KEY": "k-secret-us6", "LISTWIRE_COHORT_SYNCS__C__MAILCHIMP": "m", "LISTWIRE_COHORT_SYNCS__C__AUDIENCE": "a"}  # fmt: skip
    assert [child.name for child in processes(load(os.devnull, fed_by_producers))] == ["cohorts", "exporter"]
    assert "secret" not in repr([child.arguments for child in children])
    assert sys.executable


@pytest.mark.parametrize(
    ("port", "second"), [("9001", ("--port", "9002")), ("65535", ("--port", "0")), ("0", ()), (None, ())]
)
def test_two_workers_that_are_told_one_port_take_it_and_the_next(port: str | None, second: tuple[str, ...]) -> None:
    from listwire.cli.up import processes
    from listwire.settings import load

    environment = {
        "LISTWIRE_AMPLITUDE__P__API_KEY": "k", "LISTWIRE_SOURCES__N__AUDIENCE": "a", "LISTWIRE_SOURCES__N__AMPLITUDE": "p",
        "LISTWIRE_SOURCES__N__SECRETS": "s", "LISTWIRE_MAILCHIMP__M__API_KEY": "k-us6",
        "LISTWIRE_COHORT_SYNCS__C__MAILCHIMP": "m", "LISTWIRE_COHORT_SYNCS__C__AUDIENCE": "a",
        **({"LISTWIRE_WORKER__PORT": port} if port else {}),
    }  # fmt: skip
    found = {child.name: child.arguments for child in processes(load(os.devnull, environment))}
    assert found["subscriptions"] == ("worker", "subscriptions")
    assert found["cohorts"] == ("worker", "cohorts", *second)


STEADY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("ended well", flush=True), sys.exit(0)))
print(("up " + os.environ.get("LISTWIRE_TEST", "")).strip(), flush=True)
time.sleep(60)
"""


async def test_children_are_replaced_one_at_a_time_in_their_order_and_in_good_order(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SETTLES_WITHIN", 0.5)
    steady = script(scripts, "steady.py", STEADY)
    heard = Heard()
    roof = Supervisor([Child(name, (steady,)) for name in ("gone", "worker", "console", "ingress")], heard)
    running = asyncio.ensure_future(roof.run())
    await until(lambda: len(heard) == 4)
    before = {name: process.pid for name, process in roof.processes.items()}
    heard.clear()
    fresh = [Child(name, (steady,), {"LISTWIRE_TEST": "new"}) for name in ("worker", "extra", "console", "ingress")]
    await roof.replace(fresh, ["worker", "ingress"])
    assert heard == [
        ("gone", "ended well"),
        ("worker", "ended well"), ("worker", "up new"),
        ("extra", "up new"),
        ("ingress", "ended well"), ("ingress", "up new"),
    ]  # fmt: skip
    assert roof.processes["console"].pid == before["console"]
    assert not Path(f"/proc/{before['gone']}").exists()
    roof.stop()
    assert await running == 0
    assert not any(Path(f"/proc/{process.pid}").exists() for process in roof.processes.values())


async def test_a_stop_in_the_middle_of_a_replacement_ends_all(scripts: Path) -> None:
    steady = script(scripts, "steady.py", STEADY)
    heard = Heard()
    children = [Child(name, (steady,)) for name in ("one", "two")]
    roof = Supervisor(children, heard)
    running = asyncio.ensure_future(roof.run())
    await until(lambda: len(heard) == 2)
    replacing = asyncio.ensure_future(roof.replace(children, ["one", "two"]))
    await until(lambda: len(heard.of("one")) == 3)
    roof.stop()
    assert await asyncio.wait_for(running, 20) == 0
    await replacing
    assert len(heard.of("two")) == 2, "it was not started again"


async def test_up_follows_the_settings_and_keeps_what_it_has_where_they_are_not_valid(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from listwire import settings_watch
    from listwire.cli import up
    from listwire.settings import connections, load

    ensured: list[list[str]] = []

    async def ensure(settings: Any) -> list[str]:
        ensured.append(sorted(settings.sources))
        return []

    steady = script(scripts, "steady.py", STEADY)
    monkeypatch.setattr(supervisor, "SETTLES_WITHIN", 0.1)
    monkeypatch.setattr(settings_watch, "EVERY", 0.05)
    monkeypatch.setattr(up.kafka_admin, "ensure", ensure)
    named = up.processes

    def processes(settings: Any) -> list[Child]:
        return [Child(child.name, (steady,)) for child in named(settings)]

    monkeypatch.setattr(up, "processes", processes)
    file = scripts / "listwire.toml"
    text = '[kafka]\nbootstrap_servers = "localhost:9"\n[console]\ntoken = "a-token-that-is-long"\n[amplitude.p]\napi_key = "k-secret"\n'
    file.write_text(text)
    settings = load(file, {})
    heard = Heard()
    roof = Supervisor(processes(settings), heard)
    following = asyncio.ensure_future(up._follow(roof, settings, {"LISTWIRE_TEST": "new"}))
    running = asyncio.ensure_future(roof.run())
    await until(lambda: len(heard) == 2)
    assert sorted(heard) == [("console", "up"), ("exporter", "up")], "nothing is connected yet"
    connections.write(
        connections.directory_of(file),
        "source-n",
        {"sources": {"n": {"audience": "a", "amplitude": "p", "secrets": ["path-secret"]}}},
    )
    await until(lambda: heard.of("ingress") == ["up new"])
    assert ensured == [["n"]]
    assert [name for name, line in heard if line == "up new"] == ["subscriptions", "exporter", "ingress"]
    assert heard.of("console") == ["up"], "nobody is logged out"
    heard.clear()
    file.write_text(text + "[nonsense]\n")
    await until(lambda: any("not valid" in line for line in heard.of("listwire")))
    await asyncio.sleep(0.3)
    assert all(name == "listwire" for name, _ in heard), "all go on"
    file.write_text(text.replace("a-token", "another-token"))
    await until(lambda: heard.of("ingress")[-1:] == ["up new"])
    assert heard.of("console") == ["ended well", "up new"]
    assert "secret" not in repr(heard)
    following.cancel()
    roof.stop()
    assert await running == 0
