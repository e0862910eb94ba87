"""The settings' [kafka] table as aiokafka's options."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from listwire.errors import KafkaError, SettingsError
from listwire.kafka import client_options, durable_producer, unreachable
from listwire.settings.models import Kafka

# Made for this test, its password thrown away; it opens nothing.
LOCKED = """\
-----BEGIN CERTIFICATE-----
MIIBbTCCAROgAwIBAgIUQeUvlPj9Srvv52tXPB3+HdOMpWgwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAeFw0yNjExMjIwMTU2NThaFw0yNjExMjMwMTU2NThaMAwx
CjAIBgNVBAMMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATe2Wk0+Wok6fBk
DNOGlUCm4XPYO/qyDRT3t07ldPUy2VNnyZY6P9CIrvhRstjerXfihnVlZ4RcDZ+m
DxFGryAIo1MwUTAdBgNVHQ4EFgQUiJN1tPdSw8+4OYubfhsJf4Hf1kgwHwYDVR0j
BBgwFoAUiJN1tPdSw8+4OYubfhsJf4Hf1kgwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNIADBFAiBiHxyvJqbCftATWEYcZaNSmYRc2YxfbJCjKtFFVZz2/wIh
AMxkfINaZrteuVtUzUj4MZDNKR3WfdSnJT2BCGtpu9tN
-----END CERTIFICATE-----
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAhCp93dUFrg3gICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIN9SdrwwNR0MEgZAD/HApkxQ//q1P
4UGFjNY2mF7AbJWDbQ+JY2/36KHcI52QT4oRLeSjoc2pTrHqKzqTbmDgNOgkOred
gwvyXIhaOpz6Yxvg+juvhDjRNLTZnbMrXWS7gRcshPcVw/IG2vlLS3LK0PbiV7+k
8EEnNF1SlzseUqbkVMjyCXm6m1qlc8bIphlV0Z9SqTUSvX5/Owo=
-----END ENCRYPTED PRIVATE KEY-----
"""


def test_plain_kafka_needs_only_its_servers() -> None:
    assert client_options(Kafka(bootstrap_servers="a:1,b:2")) == {
        "bootstrap_servers": "a:1,b:2",
        "security_protocol": "PLAINTEXT",
    }


def test_without_servers_the_line_to_write_is_named() -> None:
    with pytest.raises(SettingsError, match='bootstrap_servers = "localhost:9092"'):
        client_options(Kafka())


def test_sasl_over_tls_is_passed_on_whole(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-a-file\n")
    options = client_options(
        Kafka(
            bootstrap_servers="a:1",
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="listwire",
            sasl_password_file=tmp_path / "password",
            ssl_check_hostname=False,
        )
    )
    context = options.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname is False
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert options == {
        "bootstrap_servers": "a:1",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "listwire",
        "sasl_plain_password": "from-a-file",
    }


def test_a_certificate_is_checked_unless_told_otherwise() -> None:
    context = client_options(Kafka(bootstrap_servers="a:1", security_protocol="SSL"))["ssl_context"]
    assert context.check_hostname is True
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("key", ["ssl_cafile", "ssl_certfile"])
def test_a_tls_file_that_cannot_be_used_is_a_fault_of_the_settings(tmp_path: Path, key: str) -> None:
    (tmp_path / "file.pem").write_text("no certificate")
    for path in (tmp_path / "file.pem", tmp_path / "absent.pem"):
        kafka = Kafka.model_validate({"bootstrap_servers": "a:1", "security_protocol": "SSL", key: path})
        with pytest.raises(SettingsError, match="ssl_cafile, ssl_certfile, ssl_keyfile"):
            client_options(kafka)


def test_a_locked_key_is_a_fault_and_no_question_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "locked.pem").write_text(LOCKED)
    kafka = Kafka(
        bootstrap_servers="a:1",
        security_protocol="SSL",
        ssl_certfile=tmp_path / "locked.pem",
    )
    with pytest.raises(SettingsError, match="TLS files cannot be used"):
        client_options(kafka)


def test_an_unreachable_kafka_is_told_by_its_address() -> None:
    error = unreachable(Kafka(bootstrap_servers="nowhere:9092"), OSError("refused"))
    assert isinstance(error, KafkaError)
    assert "nowhere:9092" in str(error)
    assert "kafka.bootstrap_servers" in str(error)


async def test_the_durable_producer_waits_for_all_replicas_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    class Producer:
        def __init__(self, **options: object) -> None:
            given.update(options)

        async def start(self) -> None:
            pass

    monkeypatch.setattr("listwire.kafka.AIOKafkaProducer", Producer)
    await durable_producer(Kafka(bootstrap_servers="a:1"), linger_ms=2)
    assert (given["acks"], given["enable_idempotence"], given["linger_ms"]) == ("all", True, 2)
    assert given["max_request_size"] >= 10 << 20


async def test_a_producer_that_cannot_start_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    class Producer:
        def __init__(self, **options: object) -> None:
            pass

        async def start(self) -> None:
            raise ConnectionRefusedError

        async def stop(self) -> None:
            stopped.append(self)

    monkeypatch.setattr("listwire.kafka.AIOKafkaProducer", Producer)
    with pytest.raises(KafkaError, match="a:1"):
        await durable_producer(Kafka(bootstrap_servers="a:1"))
    assert len(stopped) == 1
