"""The embedded broker as its callers meet it: a real one, on the real jars."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.helpers import create_ssl_context

from listwire.errors import SandboxError
from sandbox.kafka import EmbeddedKafka, SecureListener
from sandbox.kafka.jars import ensure_jars, kafka_home
from sandbox.kafka.lock import read_lock
from tests.kafka_broker import shared_broker

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
TOPIC = "records"
REFUSED = {"num.io.threads": "many"}


def eventually(holds: Callable[[], bool], within: float = 30) -> bool:
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    """A process that ended but that nobody waited for yet counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def create_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, value: bytes) -> int:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=16 * 1024 * 1024
    ) as producer:
        record = await producer.send_and_wait(TOPIC, value, partition=0)
    return int(record.offset)


async def consume(bootstrap: str, count: int) -> list[bytes]:
    """As a group, with a session far shorter than Kafka's own least."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id="readers",
        auto_offset_reset="earliest",
        session_timeout_ms=1000,
        heartbeat_interval_ms=300,
        enable_auto_commit=False,
    )
    async with consumer:
        found = [(await consumer.getone()).value for _ in range(count)]
        await consumer.commit({TopicPartition(TOPIC, 0): count})
    return found


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


async def test_it_serves_and_keeps_its_data_and_its_port_over_a_kill(broker: EmbeddedKafka) -> None:
    bootstrap, before, directory = broker.bootstrap_servers, broker.pid, broker.directory
    await create_topic(bootstrap)
    large = b"x" * (10 * 1024 * 1024 + 1)
    assert await produce(bootstrap, b"small") == 0
    assert await produce(bootstrap, large) == 1

    broker.kill()
    assert not broker.running
    with (
        socket.create_server(("127.0.0.1", int(bootstrap.rpartition(":")[2]))),
        pytest.raises(SandboxError, match="in use"),
    ):
        broker.start()
    broker.start()

    assert broker.pid != before
    assert broker.bootstrap_servers == bootstrap
    assert await produce(bootstrap, b"after the crash") == 2
    assert await consume(bootstrap, 3) == [b"small", large, b"after the crash"]
    described = broker.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        *("--bootstrap-server", bootstrap, "--describe", "--group", "readers"),
    )
    assert described.returncode == 0, described.stderr
    assert TOPIC in described.stdout

    pid = broker.pid
    broker.stop()
    assert not alive(pid)
    assert not directory.exists()


def test_a_given_directory_keeps_data_and_port_and_has_one_broker_at_a_time(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as first:
        first.tool(
            "org.apache.kafka.tools.TopicCommand",
            "--bootstrap-server",
            first.bootstrap_servers,
            "--create",
            "--topic",
            TOPIC,
        )
        with pytest.raises(SandboxError, match=f"in use by another embedded Kafka .process {first.pid}"):
            EmbeddedKafka(tmp_path).start()
        assert first.start() is first
        address = first.bootstrap_servers
    with EmbeddedKafka(tmp_path) as second:
        assert second.bootstrap_servers == address
        listed = second.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", address, "--list")
        assert TOPIC in listed.stdout.split()


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = EmbeddedKafka(port=port)
        with pytest.raises(SandboxError, match=f"Port {port} is in use.*choose another"):
            broker.start()
        assert not broker.running


def test_a_property_that_kafka_refuses_ends_in_its_own_words_and_leaves_nothing() -> None:
    broker = EmbeddedKafka(properties=REFUSED)
    with pytest.raises(SandboxError, match=r"num\.io\.threads"):
        broker.start()
    assert not broker.running
    with pytest.raises(SandboxError):
        _ = broker.directory


def test_a_broken_jar_of_the_right_size_is_mended_when_the_sums_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = read_lock()
    intact = [Path(shutil.copy(jar, tmp_path)) for jar in ensure_jars()]
    local = tmp_path / "m2"
    for jar, path in zip(lock.jars, intact, strict=True):
        group, artifact, version = jar.coordinate.split(":")
        place = local.joinpath(*group.split("."), artifact, version)
        place.mkdir(parents=True)
        path.rename(place / jar.file_name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(local))
    ensure_jars()
    broken = kafka_home(lock) / "jars" / lock.jars[0].file_name
    broken.write_bytes(b"\0" * lock.jars[0].size)
    assert ensure_jars()  # the sizes are right
    assert broken.read_bytes() == b"\0" * lock.jars[0].size
    with pytest.raises(SandboxError, match=r"num\.io\.threads"):
        EmbeddedKafka(verify_jars=True, properties=REFUSED).start()
    assert broken.read_bytes() != b"\0" * lock.jars[0].size


START = """
import sys
from sandbox.kafka import EmbeddedKafka
broker = EmbeddedKafka(die_with_parent=sys.argv[1] == "yes").start()
print(broker.pid, broker.directory, flush=True)
sys.stdin.read() if sys.argv[2] == "wait" else None
"""


def test_it_ends_with_its_parent_even_when_that_is_killed() -> None:
    with python("import time;" + START.replace("sys.stdin.read()", "time.sleep(600)"), "yes", "wait") as parent:
        pid, directory = first_line(parent).split()
        parent.kill()
    assert eventually(lambda: not alive(int(pid)))
    assert eventually(lambda: not Path(directory).exists())


def test_a_program_that_forgets_to_stop_it_leaves_nothing() -> None:
    with python(START, "yes", "end") as parent:
        pid, directory = first_line(parent).split()
        assert parent.wait(60) == 0
    assert not alive(int(pid))
    assert not Path(directory).exists()


def test_without_die_with_parent_it_lives_on_and_its_directory_stays_taken() -> None:
    with python("import time;" + START.replace("sys.stdin.read()", "time.sleep(600)"), "no", "wait") as parent:
        pid, directory = first_line(parent).split()
        parent.kill()
    try:
        assert alive(int(pid))
        with pytest.raises(SandboxError, match=f"process {pid}"):
            EmbeddedKafka(Path(directory)).start()
    finally:
        os.kill(int(pid), signal.SIGKILL)
        assert eventually(lambda: not alive(int(pid)))
        shutil.rmtree(directory)


FOREGROUND = "from sandbox.kafka import run_in_foreground; run_in_foreground(None, 0)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_tells_its_address_and_stops_when_asked(number: signal.Signals) -> None:
    with python(FOREGROUND) as command:
        host, _, port = first_line(command).rpartition(":")
        with socket.create_connection((host, int(port)), 10):
            pass
        command.send_signal(number)
        assert command.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 10).close()


async def test_a_secure_listener_lets_in_known_users_to_what_an_acl_allows() -> None:
    secure = SecureListener({"writer": "pass word"})
    with EmbeddedKafka(secure=secure) as broker:
        await create_topic(broker.bootstrap_servers)
        client = {
            "bootstrap_servers": broker.secure_bootstrap_servers,
            "security_protocol": "SASL_SSL",
            "ssl_context": create_ssl_context(cafile=str(broker.certificate)),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "writer",
            "sasl_plain_password": "pass word",
        }
        async with AIOKafkaProducer(**client) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(TOPIC, b"too early", partition=0)
        allowed = broker.tool(
            "org.apache.kafka.tools.AclCommand",
            *("--bootstrap-server", broker.bootstrap_servers, "--add", "--allow-principal", "User:writer"),
            *("--producer", "--topic", TOPIC),
        )
        assert allowed.returncode == 0, allowed.stderr
        async with AIOKafkaProducer(**client) as producer:
            assert (await producer.send_and_wait(TOPIC, b"now", partition=0)).offset == 0


SHARE = """
import json, sys
from pathlib import Path
from tests.kafka_broker import shared_broker
with shared_broker(Path(sys.argv[1])) as bootstrap:
    print(json.dumps(bootstrap), flush=True)
    sys.stdin.read()
"""


def test_workers_of_one_run_share_a_broker_that_goes_with_the_last_of_them(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", SHARE, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        with shared_broker(tmp_path) as bootstrap:
            assert json.loads(first_line(other)) == bootstrap
        host, _, port = bootstrap.rpartition(":")
        with socket.create_connection((host, int(port)), 10):
            pass
        other.kill()

    def refused() -> bool:
        try:
            socket.create_connection((host, int(port)), 10).close()
        except ConnectionRefusedError:
            return True
        return False

    assert eventually(refused)
    assert not (tmp_path / "address").exists()
