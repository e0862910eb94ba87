"""What the embedded Kafka is told and what its cache believes: no Java, no socket."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from listwire.errors import SandboxError
from sandbox.kafka import EmbeddedKafka, SecureListener
from sandbox.kafka.certificate import Certificate
from sandbox.kafka.datadir import DataDirectory, gist
from sandbox.kafka.jars import broken_jars, cache_root, kafka_home, render_sums
from sandbox.kafka.lock import Jar, Lock, parse_lock, read_lock
from sandbox.kafka.properties import ServerSettings, render_log_configuration, render_properties


def settings(**changes: object) -> ServerSettings:
    return dataclasses.replace(ServerSettings(Path("/data"), 9092, 9093), **changes)  # type: ignore[arg-type]  # a test's shorthand


def small_lock(home: Path) -> Lock:
    """A lock of two tiny jars, and a cache that holds both."""
    jars = []
    (home / "jars").mkdir(parents=True)
    for name, content in (("one", b"first"), ("two", b"second")):
        jar = Jar(f"org.example:{name}:1.0", len(content), hashlib.sha256(content).hexdigest())
        (home / "jars" / jar.file_name).write_bytes(content)
        jars.append(jar)
    return Lock("1.2.3", tuple(jars))


def test_the_broker_listens_on_loopback_only_and_tells_clients_no_controller_address() -> None:
    properties = settings().properties()
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9093"
    assert properties["log.dirs"] == "/data"


def test_a_topic_nobody_made_stays_absent_and_a_dead_letter_of_ten_mebibytes_fits() -> None:
    properties = settings().properties()
    assert properties["auto.create.topics.enable"] == "false"
    assert int(properties["message.max.bytes"]) > 10 * 1024 * 1024
    assert properties["log.retention.ms"] == "-1"


def test_the_callers_properties_win_over_every_default() -> None:
    properties = settings(extra={"num.partitions": "3", "log.dirs": "/elsewhere"}).properties()
    assert properties["num.partitions"] == "3"
    assert properties["log.dirs"] == "/elsewhere"


def test_a_secure_listener_adds_scram_over_tls_and_an_authorizer() -> None:
    secure = SecureListener({"app": "s3cret"})
    certificate = Certificate(Path("/k.p12"), "keys", Path("/k.pem"))
    properties = settings(secure=secure, secure_port=9094, certificate=certificate).properties()
    assert "SECURE://127.0.0.1:9094" in properties["advertised.listeners"]
    assert "SECURE:SASL_SSL" in properties["listener.security.protocol.map"]
    assert properties["authorizer.class.name"].endswith("StandardAuthorizer")
    assert "listener.name.secure.scram-sha-512.sasl.jaas.config" in properties
    assert secure.scram_arguments() == ["--add-scram", "SCRAM-SHA-512=[name=app,password=s3cret]"]


def test_without_a_secure_listener_there_is_no_authorizer() -> None:
    assert "authorizer.class.name" not in settings().properties()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("two words", "two words"),
        (" leading", "\\ leading"),
        ("C:\\data", "C:\\\\data"),
        ("line\nbreak", "line\\nbreak"),
        ("ä😀", "\\u00e4\\ud83d\\ude00"),
        ("a=b#c", "a=b#c"),
    ],
)
def test_a_value_survives_java_properties(value: str, written: str) -> None:
    assert render_properties({"key": value}) == f"key={written}\n"


def test_a_key_with_a_separator_survives_java_properties() -> None:
    assert render_properties({"a b:c=d": "1"}) == "a\\ b\\:c\\=d=1\n"


def test_the_broker_logs_warnings_to_a_file_that_cannot_grow_without_end() -> None:
    rendered = render_log_configuration(Path("/data/broker.log"))
    assert "rootLogger.level=WARN\n" in rendered
    assert "appender.out.fileName=/data/broker.log\n" in rendered
    assert "appender.out.policies.size.size=10MB\n" in rendered


def test_a_tool_logs_to_stderr() -> None:
    assert "appender.out.target=SYSTEM_ERR\n" in render_log_configuration(None)


def test_the_shipped_lock_names_the_broker_its_tools_and_a_logger_each_with_a_sum() -> None:
    lock = read_lock()
    names = [jar.coordinate for jar in lock.jars]
    assert f"org.apache.kafka:kafka_2.13:{lock.version}" in names
    assert f"org.apache.kafka:kafka-tools:{lock.version}" in names
    assert any(name.startswith("org.apache.logging.log4j:log4j-slf4j-impl:") for name in names)
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in lock.jars)
    assert len({jar.file_name for jar in lock.jars}) == len(lock.jars)


def test_a_lock_reads_back_what_it_wrote() -> None:
    lock = read_lock()
    assert parse_lock(lock.render()) == lock


def test_an_intact_cache_has_no_broken_jar(tmp_path: Path) -> None:
    lock = small_lock(tmp_path)
    assert broken_jars(tmp_path, lock, full_check=True) == []


def test_an_absent_and_a_cut_off_jar_are_noticed_at_every_start(tmp_path: Path) -> None:
    lock = small_lock(tmp_path)
    (tmp_path / "jars" / "one-1.0.jar").unlink()
    (tmp_path / "jars" / "two-1.0.jar").write_bytes(b"sec")
    assert broken_jars(tmp_path, lock) == list(lock.jars)


def test_a_changed_byte_is_noticed_by_the_full_check_only(tmp_path: Path) -> None:
    lock = small_lock(tmp_path)
    (tmp_path / "jars" / "two-1.0.jar").write_bytes(b"sEcond")
    assert broken_jars(tmp_path, lock) == []
    assert broken_jars(tmp_path, lock, full_check=True) == [lock.jars[1]]


def test_the_sums_are_in_the_form_that_sha256sum_checks(tmp_path: Path) -> None:
    lock = small_lock(tmp_path)
    first = hashlib.sha256(b"first").hexdigest()
    assert render_sums(lock).splitlines()[0] == f"{first}  jars/one-1.0.jar"


def test_the_cache_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kafka_home(Lock("4.3.1", ())) == tmp_path / "listwire" / "kafka-4.3.1"


def test_a_relative_cache_path_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "listwire"


def test_a_directory_has_one_user_at_a_time_and_the_refusal_names_them(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.claim()
    first.name_holder(4242)
    with pytest.raises(SandboxError, match=r"in use by another embedded Kafka \(process 4242\)"):
        second.claim()
    first.release()
    second.claim()
    second.release()


def test_a_given_directory_is_never_removed_and_a_temporary_one_is(tmp_path: Path) -> None:
    given, temporary = DataDirectory(tmp_path), DataDirectory(None)
    for each in (given, temporary):
        each.claim()
        each.release()
    made = temporary.path
    assert made.is_dir()
    given.remove_temporary()
    temporary.remove_temporary()
    assert tmp_path.is_dir()
    assert not made.exists()


def test_ports_are_remembered_and_a_broken_note_is_no_ports(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert directory.read_ports() == (0, 0)
    directory.write_ports(9092, 9094)
    assert DataDirectory(tmp_path).read_ports() == (9092, 9094)
    (tmp_path / "ports.json").write_text("[1]")
    assert directory.read_ports() == (0, 0)


def test_the_configuration_may_hold_secrets_and_is_for_its_owner_only(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    server, _ = directory.write_configuration(settings())
    assert server.stat().st_mode & 0o077 == 0


def test_a_stack_trace_is_cut_to_what_it_says() -> None:
    printed = (
        'Exception in thread "main" ConfigException: Invalid value x\n\tat a.b.C(D.java:1)\n\tat e.f.G(H.java:2)\n'
    )
    assert gist(printed) == 'Exception in thread "main" ConfigException: Invalid value x'
    assert gist("\n") == "it said nothing."


def test_a_broker_that_was_never_started_has_no_address_and_stops_without_fuss() -> None:
    broker = EmbeddedKafka()
    for name in ("bootstrap_servers", "secure_bootstrap_servers", "certificate", "pid", "directory"):
        with pytest.raises(SandboxError):
            getattr(broker, name)
    assert not broker.running
    broker.stop()
    broker.kill()
