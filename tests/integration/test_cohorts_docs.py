"""docs/cohorts.md says what works: every snippet is cut out of it and run against a real Kafka, as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from listwire import records as reasons
from listwire import topics
from listwire.cli.cohorts_validate import judge
from listwire.kafka_reader import Record
from listwire.settings import Settings
from sandbox.kafka import EmbeddedKafka
from sandbox.kafka.jars import ensure_jars
from sandbox.kafka.java import java_command
from stream.codecs.cohort_change import CohortChange, address_of, decode
from tests.integration import operations

pytestmark = pytest.mark.kafka

PAGE = (Path(__file__).parents[2] / "docs" / "cohorts.md").read_text()
SECRET = "only-this-test-knows-it"


def snippet(heading: str, language: str) -> str:
    """The first fenced block of that language below the heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the page no longer says {old}"
    return text.replace(old, new)


CHANGE = snippet("Publishing cohorts", "json")


@pytest.fixture(scope="module")
def config(listwire_broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = operations.settings_file(
        listwire_broker.bootstrap_servers, tmp_path_factory.mktemp("docs") / "listwire.toml"
    )
    with path.open("a") as more:
        more.write(f'[cohort_syncs.newsletter]\nmailchimp = "acme"\naudience = "a6b5da1054"\nsecrets = ["{SECRET}"]\n')
    return path


@pytest.fixture
async def settings(config: Path) -> Settings:
    found = operations.settings_of(config)
    await operations.fresh_topics(found)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader stands: the files that the page speaks of, and its programs on the path."""
    (tmp_path / "change.json").write_text(CHANGE)
    (tmp_path / "entered.csv").write_text("email,user_id\nann@example.com,42\nbob@example.com,43\n")
    (tmp_path / "left.csv").write_text("email,user_id\neve@example.com,44\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    java = java_command(ensure_jars(), "org.apache.kafka.tools.ConsoleProducer", [], ["-Xmx128m"])
    for name, command in (("kafka-console-producer.sh", java), ("listwire", [sys.executable, "-m", "listwire"])):
        program = programs / name
        program.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in command) + ' "$@"\n')
        program.chmod(0o755)
    return tmp_path


def shell(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    done = subprocess.run(
        ["/bin/bash", "-eu", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**clean, "PATH": f"{folder / 'bin'}:{clean['PATH']}", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def heard(record: Record) -> tuple[str, str, bool, list[str | None]]:
    change = decode(record.value)
    assert isinstance(change, CohortChange)
    addresses = [user and address_of(user, "email") for user in change.users]
    return change.cohort_id, change.cohort_name, change.entered, addresses


ENTERED = ("7khm89cz", "Power users", True, ["ann@example.com", "bob@example.com"])
LEFT = ("7khm89cz", "Power users", False, ["eve@example.com"])


def headers_are_right(record: Record) -> None:
    headers = dict(record.headers)
    assert headers[topics.SYNC] == b"newsletter"
    assert re.fullmatch(rb"[0-9]{13}", headers[topics.RECEIVED_AT])


async def test_the_change_is_valid(settings: Settings, folder: Path) -> None:
    verdict = judge(CHANGE.encode(), "email")
    assert (verdict["accepted"], verdict["dead_letters"]) == (True, [])
    ran = shell(snippet("Publishing cohorts", "sh"), folder)
    assert ran.stdout == "✓ 'Power users', cohort '7khm89cz': 2 users entered, 2 with an address in 'email'\n"


async def test_without_code(settings: Settings, config: Path, folder: Path) -> None:
    shell(snippet("Without code", "sh"), folder, LISTWIRE_CONFIG=str(config))
    found = await operations.records(settings, topics.COHORT_CHANGES)
    key = b"power-users-63872142"
    assert [record.key for record in found] == [key, key]
    assert [heard(record)[1:] for record in found] == [LEFT[1:], ENTERED[1:]]
    for record in found:
        headers_are_right(record)


async def test_from_python(settings: Settings, folder: Path) -> None:
    code = replaced(snippet("From Python", "python"), "localhost:9092", str(settings.kafka.bootstrap_servers))
    compile(code, "cohorts.md", "exec")
    (folder / "publish.py").write_text(code)
    shell(f"'{sys.executable}' -W error publish.py", folder)
    found = await operations.records(settings, topics.COHORT_CHANGES)
    assert [record.key for record in found] == [b"7khm89cz", b"7khm89cz"]
    assert [heard(record) for record in found] == [ENTERED, LEFT]
    for record in found:
        headers_are_right(record)


async def test_over_http(settings: Settings, config: Path, folder: Path) -> None:
    with ingress(config) as url:
        command = replaced(snippet("Over HTTP", "sh"), "https://hooks.example.com", url)
        if shutil.which("curl"):
            shell(command, folder, COHORT_SECRET=SECRET)
        else:
            as_curl_would(command.replace("$COHORT_SECRET", SECRET), folder)
    (record,) = await operations.records(settings, topics.COHORT_CHANGES)
    assert (record.key, record.value) == (b"7khm89cz", CHANGE.encode())
    assert heard(record) == ENTERED
    headers_are_right(record)


def as_curl_would(command: str, folder: Path) -> None:
    """The same request on a machine without curl."""
    words = shlex.split(command)
    (header,) = (words[at + 1] for at, word in enumerate(words) if word == "--header")
    (file,) = (words[at + 1] for at, word in enumerate(words) if word == "--data-binary")
    name, _, value = header.partition(": ")
    answer = httpx.post(words[-1], content=(folder / file.removeprefix("@")).read_bytes(), headers={name: value})
    assert answer.status_code == 200, answer.text


async def test_from_a_shell_with_kafka_s_own_tools(settings: Settings, folder: Path) -> None:
    command = snippet("From a shell, with Kafka's own tools", "sh")
    shell(replaced(command, "localhost:9092", str(settings.kafka.bootstrap_servers)), folder)
    (record,) = await operations.records(settings, topics.COHORT_CHANGES)
    assert record.key == b"7khm89cz"
    assert heard(record) == ENTERED
    headers_are_right(record)


async def test_all_ways_lead_to_one_partition(settings: Settings, folder: Path) -> None:
    """aiokafka's partitioner and Java's agree: a cohort has one order, whoever publishes."""
    address = str(settings.kafka.bootstrap_servers)
    command = replaced(snippet("From a shell, with Kafka's own tools", "sh"), "localhost:9092", address)
    keys = ["7khm89cz", "power-users-63872142", "a", "日本"]
    for key in keys:
        shell(replaced(command, "7khm89cz", key), folder)
        async with operations.producer(settings) as out:
            await out.send_and_wait(topics.COHORT_CHANGES, CHANGE.encode(), key=key.encode())
    where: dict[bytes | None, set[int]] = {}
    found = await operations.records(settings, topics.COHORT_CHANGES)
    assert len(found) == 2 * len(keys)
    for record in found:
        where.setdefault(record.key, set()).add(record.partition)
    assert {len(partitions) for partitions in where.values()} == {1}


def test_the_page_names_every_reason_that_a_cohort_change_can_have() -> None:
    named = re.findall(r"^\| `([a-z_]+)` \|", PAGE, flags=re.MULTILINE)
    others = {"wrong_audience", "rejected_by_amplitude", "too_large", "over_quota"}
    assert set(named) == {reason.value for reason in reasons.Reason} - others


@contextmanager
def ingress(config: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "listwire", "ingress", "--host", "127.0.0.1", "--port", "0", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")},
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if (found := re.search(r"http://127\.0\.0\.1:[0-9]+", line)) is not None:
                break
        else:
            raise AssertionError("".join(said))
        # It says where it will listen before its workers do.
        with httpx.Client(transport=httpx.HTTPTransport(retries=10), base_url=found[0], timeout=20) as client:
            assert client.get("/healthz").status_code == 200
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)
