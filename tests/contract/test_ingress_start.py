"""How the ingress starts, or refuses to: one sentence and the right exit code, from the process that was started."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from listwire import topics
from tests.contract.commands import Ran, listwire
from tests.ingress_process import ALL_SECRETS, COHORTS, FORM, HOOK, JSON, Ingress, running, settings_file
from tests.integration.operations import fresh_topics, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120), pytest.mark.xdist_group("ingress start")]


@pytest.fixture(scope="module")
def ready(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file whose topics exist."""
    directory = tmp_path_factory.mktemp("ready")
    settings = settings_file(directory, bootstrap)
    asyncio.run(fresh_topics(settings_of(settings)))
    return settings


def refused(settings: Path, *arguments: str) -> Ran:
    ran = listwire("--config", settings, "ingress", *arguments, cwd=settings.parent)
    assert "Traceback" not in ran.all
    assert ran.out == ""
    sentences = [line for line in ran.err.splitlines() if line.startswith("listwire: ")]
    assert len(sentences) == 1, ran.err
    assert "granian" not in ran.err, "no worker was started"
    assert not [secret for secret in ALL_SECRETS if secret in ran.all]
    return ran


async def make_topic(bootstrap: str, name: str, config: dict[str, str] | None) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([name])
        while not (await admin.describe_topics([name]))[0]["error_code"]:
            await asyncio.sleep(0.05)
        if config is not None:
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config)])
    finally:
        await admin.close()


@pytest.mark.parametrize(
    ("topic", "config", "words"),
    [
        (topics.WEBHOOKS, None, "does not exist"),
        (topics.COHORT_CHANGES, None, "does not exist"),
        (topics.COHORT_CHANGES, {"max.message.bytes": "1048588"}, "max.message.bytes"),
        (topics.WEBHOOKS, {"cleanup.policy": "compact"}, "cleanup.policy"),
    ],
)
async def test_a_topic_that_is_absent_or_unfit_is_named_with_the_command(
    ready: Path, bootstrap: str, topic: str, config: dict[str, str] | None, words: str
) -> None:
    await make_topic(bootstrap, topic, config)
    ran = refused(ready)
    assert ran.code == 1
    assert topic in ran.err
    assert words in ran.err
    assert "listwire topics ensure" in ran.err
    await make_topic(bootstrap, topic, None)
    assert listwire("--config", ready, "topics", "ensure", cwd=ready.parent).code == 0


def test_a_kafka_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        ran = refused(settings_file(tmp_path, address))
    assert ran.code == 1
    assert address in ran.err


@pytest.mark.parametrize("more", ["", '[cohort_syncs.daily]\nmailchimp = "acme"\naudience = "a"\n'])
def test_nothing_to_receive_is_an_error_of_the_settings(tmp_path: Path, more: str) -> None:
    settings = tmp_path / "listwire.toml"
    settings.write_text(f'[kafka]\nbootstrap_servers = "127.0.0.1:1"\n[mailchimp.acme]\napi_key = "k-us6"\n{more}')
    ran = refused(settings)
    assert ran.code == 2
    assert "[sources.NAME]" in ran.err
    assert "[cohort_syncs.NAME]" in ran.err


def test_a_port_that_is_taken_is_an_error_of_the_settings(ready: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ran = refused(ready, "--port", str(port))
    assert ran.code == 2
    assert f"ingress.port = {port} is taken" in ran.err


def test_a_second_ingress_does_not_share_the_port_of_the_first(ready: Path, tmp_path: Path) -> None:
    with running(ready, tmp_path / "log") as first:
        assert refused(ready, "--port", str(first.port)).code == 2


def test_a_host_that_is_not_ours_is_an_error_of_the_settings(ready: Path) -> None:
    ran = refused(ready, "--host", "192.0.2.1")
    assert ran.code == 2
    assert "ingress.host = '192.0.2.1'" in ran.err


def test_only_the_topics_that_are_needed_must_be_there(bootstrap: str, tmp_path: Path) -> None:
    """Sources alone do not need the topic of the cohorts."""
    settings = settings_file(tmp_path, bootstrap)
    settings.write_text(settings.read_text().split("[cohort_syncs")[0])
    assert listwire("--config", settings, "topics", "ensure", cwd=tmp_path).code == 0
    asyncio.run(make_topic(bootstrap, topics.COHORT_CHANGES, None))
    with running(settings, tmp_path / "log") as ingress:
        assert httpx.post(f"{ingress.url}{HOOK}", content=b"a=b", headers=FORM).status_code == 204
    assert listwire("--config", settings, "topics", "ensure", cwd=tmp_path).code == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_0_soon_after_it_is_told_to(ready: Path, tmp_path: Path, how: signal.Signals) -> None:
    with running(ready, tmp_path / "log") as ingress:
        began = time.monotonic()
        assert ingress.stop(how) == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in ingress.output


def test_ctrl_c_reaches_the_workers_as_well_and_still_ends_with_0(ready: Path, tmp_path: Path) -> None:
    with running(ready, tmp_path / "log", "--workers", "2") as ingress:
        for pid in [*ingress.workers(), ingress.process.pid] * 3:
            os.kill(pid, signal.SIGINT)
        assert ingress.stop() == 0


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.1])
def test_a_stop_while_it_starts_is_not_lost(ready: Path, tmp_path: Path, moment: float) -> None:
    """A worker that has just been forked has no handlers yet."""
    ingress = Ingress(ready, tmp_path / "log")
    while not ingress.workers():
        assert ingress.process.poll() is None
    time.sleep(moment)
    began = time.monotonic()
    assert ingress.stop() == 0
    assert time.monotonic() - began < 10
    assert "Killing" not in ingress.output


def test_several_workers_share_the_port_and_add_up_their_metrics(ready: Path, tmp_path: Path) -> None:
    with running(ready, tmp_path / "log", "--workers", "2") as ingress:
        assert len(ingress.workers()) == 2
        for _ in range(40):
            assert httpx.post(f"{ingress.url}{HOOK}", content=b"a=b", headers=FORM).status_code == 204
        assert httpx.post(f"{ingress.url}{COHORTS}", content=b"{}", headers=JSON).status_code == 200
        time.sleep(0.3)  # counts move into the common files ten times a second
        for _ in range(6):
            text = httpx.get(f"{ingress.url}/metrics").text
            assert 'listwire_ingress_requests_total{route="mailchimp",status="204"} 40.0' in text
            assert re.search(r'listwire_ingress_seconds_count\{route="amplitude"\} 1.0', text)
            assert "listwire_ingress_bytes_in_flight 0.0" in text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_worker_that_dies_ends_the_ingress_with_70(ready: Path, tmp_path: Path, workers: str) -> None:
    with running(ready, tmp_path / "log", "--workers", workers) as ingress:
        os.kill(ingress.workers()[0], signal.SIGKILL)
        assert ingress.process.wait(20) == 70
        assert ingress.logged("a worker ended unexpectedly; the ingress ends too, for its supervisor to start it again")


def test_workers_do_not_outlive_the_process_that_started_them(ready: Path, tmp_path: Path) -> None:
    with running(ready, tmp_path / "log", "--workers", "2") as ingress:
        workers = ingress.workers()
        ingress.process.kill()
        end = time.monotonic() + 15
        while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() and not _zombie(pid) for pid in workers):
            time.sleep(0.05)
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists() and not _zombie(pid)]


def _zombie(pid: int) -> bool:
    """Nobody in a container may have collected it."""
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
