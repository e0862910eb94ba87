"""`listwire console` as a process: the token, the port, and how it ends. Kafka is away the whole time: it must start all the same."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from listwire.settings import connections, load
from tests.contract.commands import listwire

TOKEN = "a-token-that-is-long-enough"
SETTINGS = """
[kafka]
bootstrap_servers = "127.0.0.1:9"
[amplitude.product]
api_key = "0123456789abcdef0123456789abcdef"
[sources.newsletter]
audience = "a6b5da1054"
amplitude = "product"
secrets = ["a-secret-in-the-path-of-it"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "listwire.toml").write_text(SETTINGS)
    return tmp_path


@contextlib.contextmanager
def running(
    folder: Path, *arguments: str, token: str | None = TOKEN, terminal: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """Yields the process, its URL, and what it wrote on the terminal; it is over at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    given = {"LISTWIRE_CONSOLE__TOKEN": token} if token else {}
    log = folder / "log"
    ours, theirs = pty.openpty() if terminal else (None, None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "listwire", "console", *arguments],
            cwd=folder, env={**clean, **given}, stdin=subprocess.DEVNULL, stdout=theirs or output, stderr=output,
        )  # fmt: skip
    try:
        url, shown = "", ""
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            if ours is not None and select.select([ours], [], [], 0)[0]:
                shown += os.read(ours, 4096).decode()
            if found := re.search(r'"url": "(http://[^"]+)"', log.read_text()):
                url = found[1]
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(f"{url}/healthz", trust_env=False)
                    break
            time.sleep(0.05)
        assert process.poll() is None, log.read_text()
        if ours is not None:
            while "token" not in shown:
                shown += os.read(ours, 4096).decode()
        yield process, url, shown
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for descriptor in (ours, theirs):
            if descriptor is not None:
                os.close(descriptor)


def login(url: str, token: str) -> int:
    with httpx.Client(base_url=url, trust_env=False) as client:
        form = client.get("/login").text.split('name="csrf" value="')[1].split('"')[0]
        client.post("/login", data={"csrf": form, "token": token}, headers={"origin": url})
        return client.get("/").status_code


def test_it_serves_while_kafka_is_away_and_ends_in_order(folder: Path) -> None:
    with running(folder, "--port", "0") as (process, url, _):
        assert url.startswith("http://127.0.0.1:")
        assert login(url, TOKEN) == 200
        assert login(url, "wrong") == 303
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    log = (folder / "log").read_text()
    assert TOKEN not in log
    assert "Traceback" not in log


def test_a_new_connection_is_taken_over_while_it_runs_and_nobody_is_logged_out(folder: Path) -> None:
    with running(folder, "--port", "0") as (_, url, _shown), httpx.Client(base_url=url, trust_env=False) as client:
        form = client.get("/login").text.split('name="csrf" value="')[1].split('"')[0]
        client.post("/login", data={"csrf": form, "token": TOKEN}, headers={"origin": url})
        secret = "a-fresh-secret-in-the-path"
        table = {"audience": "a2", "amplitude": "product", "secrets": [secret]}
        connections.write(folder / "connections.d", "source-shop", {"sources": {"shop": table}})
        end = time.monotonic() + 30
        while (page := client.get("/connections/sources.shop")).status_code == 404:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert page.status_code == 200
        assert "sources.newsletter" in client.get("/").text
        connections.remove(folder / "connections.d", "source-shop")
        while client.get("/connections/sources.shop").status_code != 404:
            assert time.monotonic() < end
            time.sleep(0.2)
    assert secret not in (folder / "log").read_text()
    assert "needs a restart" not in (folder / "log").read_text()


def test_without_a_token_and_without_a_terminal_it_refuses(folder: Path) -> None:
    ran = listwire("console", "--port", "0", cwd=folder)
    assert ran.code == 2
    assert "console.token is missing" in ran.err
    assert ran.out == ""


def test_without_a_token_it_never_listens_beyond_this_machine(folder: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        ran = listwire("console", "--host", host, cwd=folder)
        assert ran.code == 2
        assert "console.token" in ran.err


def test_on_a_terminal_it_makes_a_token_and_shows_it_there_alone(folder: Path) -> None:
    with running(folder, "--port", "0", token=None, terminal=True) as (_, url, shown):
        token = re.search(r"token {2}(\S+)", shown)
        link = re.search(r"(http\S+/login/\S+)", shown)
        assert token is not None
        assert link is not None
        assert login(url, token[1]) == 200
        with httpx.Client(base_url=url, trust_env=False) as client:
            client.get(link[1])
            assert client.get("/").status_code == 200
        assert httpx.get(link[1], trust_env=False).status_code == 403
        log = (folder / "log").read_text()
        assert token[1] not in log
        assert link[1].rpartition("/")[2] not in log


def test_a_port_that_is_set_and_taken_is_an_error(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = listwire("console", "--port", str(port), cwd=folder, LISTWIRE_CONSOLE__TOKEN=TOKEN)
    assert ran.code == 2
    assert f"console.port = {port} is taken" in ran.err


def test_a_host_that_is_not_ours_is_an_error(folder: Path) -> None:
    ran = listwire("console", "--host", "192.0.2.1", cwd=folder, LISTWIRE_CONSOLE__TOKEN=TOKEN)
    assert ran.code == 2
    assert "console.host = '192.0.2.1'" in ran.err


def test_without_kafka_in_the_settings_it_says_what_to_write(tmp_path: Path) -> None:
    ran = listwire("console", cwd=tmp_path, LISTWIRE_CONSOLE__TOKEN=TOKEN)
    assert ran.code == 2
    assert "kafka.bootstrap_servers is missing" in ran.err


def test_slow_headers_are_cut_off(folder: Path) -> None:
    with (
        running(folder, "--port", "0") as (_, url, _),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        while slow.recv(4096):  # raises where nobody ends the connection
            pass


def test_the_workers_are_looked_for_where_the_settings_say(folder: Path) -> None:
    from console.worker_metrics import addresses

    def found(**environ: str) -> list[str]:
        return addresses(load(folder / "listwire.toml", environ))

    assert found() == ["http://127.0.0.1:8081", "http://127.0.0.1:8082"]
    assert found(LISTWIRE_WORKER__HOST="10.0.0.5", LISTWIRE_WORKER__PORT="9000") == ["http://10.0.0.5:9000"]
    assert found(LISTWIRE_CONSOLE__WORKERS='["http://a:1/", "http://b:2"]') == ["http://a:1", "http://b:2"]
    assert found(LISTWIRE_CONSOLE__WORKERS="http://a:1") == ["http://a:1"]


def test_up_runs_it_too_where_there_is_a_token(folder: Path) -> None:
    from listwire.cli.up import processes

    def names(**environ: str) -> list[str]:
        return [child.name for child in processes(load(folder / "listwire.toml", environ))]

    assert "console" not in names()
    assert "console" in names(LISTWIRE_CONSOLE__TOKEN=TOKEN)


def test_trace_wants_an_address(folder: Path) -> None:
    ran = listwire("trace", "nobody", cwd=folder)
    assert (ran.code, ran.out) == (2, "")
    assert "an address has an @" in ran.err
