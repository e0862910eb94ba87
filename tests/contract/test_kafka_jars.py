"""How Kafka's jars get into the cache, against a Maven repository on loopback that holds two tiny ones."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from listwire.errors import SandboxError
from sandbox.kafka import jars as jars_module
from sandbox.kafka.jars import ensure_jars, kafka_home
from sandbox.kafka.lock import Jar, Lock

CONTENTS = {"one": b"first jar", "two": b"second jar"}
LOCK = Lock(
    "1.2.3",
    tuple(
        Jar(f"org.example:{name}:1.0", len(body), hashlib.sha256(body).hexdigest()) for name, body in CONTENTS.items()
    ),
)


@dataclass
class Repository:
    """`asked` lists the jars that were asked for, in order; `served` may be changed by a test."""

    port: int
    served: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.served.get(self.path)
            if self.path.endswith(".jar"):
                found.asked.append(self.path.rpartition("/")[2])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Repository(server.server_port)
        found.served = {f"/org/example/{name}/1.0/{name}-1.0.jar": body for name, body in CONTENTS.items()}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        # As a person behind a firewall does it: jgo's own settings file names the mirror.
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\ncentral = http://user:hunter2@127.0.0.1:{found.port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("PATH", "/nonexistent")  # neither mvn nor java
        monkeypatch.setattr(jars_module, "read_lock", lambda: LOCK)
        yield found
        server.shutdown()
        thread.join()


def contents(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_the_jars_are_fetched_once_and_found_again(repository: Repository) -> None:
    first = ensure_jars()
    assert contents(first) == list(CONTENTS.values())
    assert ensure_jars(full_check=True) == first
    assert sorted(repository.asked) == ["one-1.0.jar", "two-1.0.jar"]


def test_the_cache_holds_the_sums_and_nothing_of_the_way_there(repository: Repository) -> None:
    ensure_jars()
    home = kafka_home(LOCK)
    assert sorted(path.name for path in home.iterdir()) == ["SHA256SUMS", "jars"]
    assert sorted(path.name for path in home.parent.iterdir()) == ["kafka-1.2.3", "kafka-1.2.3.lock"]


def test_the_progress_is_told_on_stderr(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_jars()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Fetching Kafka 1.2.3, once")


def test_a_broken_jar_is_fetched_anew_and_the_intact_one_kept(repository: Repository) -> None:
    ensure_jars()
    repository.asked.clear()
    (kafka_home(LOCK) / "jars" / "two-1.0.jar").write_bytes(b"sec")
    assert contents(ensure_jars()) == list(CONTENTS.values())
    assert repository.asked == ["two-1.0.jar"]


def test_a_jar_with_another_sum_is_never_used(repository: Repository) -> None:
    repository.served["/org/example/two/1.0/two-1.0.jar"] = b"s3cond jar"
    with pytest.raises(SandboxError, match=r"org\.example:two:1\.0 could not be fetched .* SHA-256 sum"):
        ensure_jars()
    assert not kafka_home(LOCK).exists()


def test_a_jar_that_is_nowhere_ends_in_a_message_with_ways_out_and_without_addresses(repository: Repository) -> None:
    repository.served.clear()
    with pytest.raises(SandboxError) as caught:
        ensure_jars()
    message = str(caught.value)
    assert "Maven Central" in message
    assert "jgo.conf" in message
    assert "kafka.bootstrap_servers" in message
    assert "hunter2" not in message
    assert str(repository.port) not in message


def test_a_repository_that_nobody_answers_for_is_told_in_short(repository: Repository, tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, never listening: whoever connects is refused
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        (tmp_path / "jgo.conf").write_text(f"[repositories]\nmirror = {address}\ncentral = {address}\n")
        with pytest.raises(SandboxError, match=r"from your repository 'mirror' or Maven Central \(no connection\)"):
            ensure_jars()


def test_a_failed_fetch_leaves_nothing_behind_and_the_next_one_works(repository: Repository) -> None:
    gone = repository.served.pop("/org/example/one/1.0/one-1.0.jar")
    with pytest.raises(SandboxError):
        ensure_jars()
    assert [path.name for path in kafka_home(LOCK).parent.iterdir()] == ["kafka-1.2.3.lock"]
    repository.served["/org/example/one/1.0/one-1.0.jar"] = gone
    assert contents(ensure_jars()) == list(CONTENTS.values())


def test_a_jar_in_the_local_maven_repository_is_not_fetched(repository: Repository, tmp_path: Path) -> None:
    kept = tmp_path / "m2" / "org" / "example" / "one" / "1.0" / "one-1.0.jar"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENTS["one"])
    assert contents(ensure_jars()) == list(CONTENTS.values())
    assert repository.asked == ["two-1.0.jar"]


def test_many_that_start_at_once_fetch_each_jar_once(repository: Repository) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: contents(ensure_jars()), range(6)))
    assert found == [list(CONTENTS.values())] * 6
    assert sorted(repository.asked) == ["one-1.0.jar", "two-1.0.jar"]


def test_a_cache_that_cannot_be_written_says_so(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SandboxError, match="XDG_CACHE_HOME"):
        ensure_jars()
