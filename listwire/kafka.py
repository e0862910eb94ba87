"""How our processes reach Kafka: one place turns settings into client options, one makes a durable producer."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, ProducerClosed
from aiokafka.errors import KafkaError as ClientError

from listwire import kafka_faults, logs, topics
from listwire.errors import KafkaError, SettingsError
from listwire.settings.models import Kafka

log = logs.get("listwire.kafka")


def servers(kafka: Kafka) -> str:
    if not kafka.bootstrap_servers:
        raise SettingsError(
            'kafka.bootstrap_servers is missing. Write under [kafka]: bootstrap_servers = "localhost:9092" '
            "(only `listwire up` and `demo` start a Kafka of their own)."
        )
    return kafka.bootstrap_servers


def tls(kafka: Kafka) -> ssl.SSLContext | None:
    if "SSL" not in kafka.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None)
        if kafka.ssl_certfile:
            # With a password, if only an empty one, OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password="")
    except (OSError, ssl.SSLError) as fault:
        raise SettingsError(
            f"kafka.ssl_*: the TLS files cannot be used: {fault}. Check ssl_cafile, ssl_certfile, ssl_keyfile."
        ) from None
    context.check_hostname = kafka.ssl_check_hostname
    return context


def client_options(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes."""
    options: dict[str, Any] = {"bootstrap_servers": servers(kafka), "security_protocol": kafka.security_protocol}
    if context := tls(kafka):
        options["ssl_context"] = context
    if kafka.security_protocol.startswith("SASL"):
        password = kafka.password
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options


def unreachable(kafka: Kafka, fault: BaseException, need: str | None = None) -> KafkaError:
    """`need`: the right without which Kafka refuses what was tried, such as "Read on the topic X"."""
    if denied := kafka_faults.denied(fault, need, kafka.sasl_username):
        return KafkaError(denied)
    if words := kafka_faults.no_connection(kafka, fault):
        return KafkaError(f"Kafka at {kafka.bootstrap_servers} cannot be used: {words}.")
    words = str(fault) or type(fault).__name__
    if "Unable to bootstrap" in words:
        words = "none of these servers answers as a broker"
    return KafkaError(
        f"Kafka at {kafka.bootstrap_servers} cannot be used: {words.rstrip('.')}. "
        "Check kafka.bootstrap_servers, its SASL and TLS keys, and that the broker is up."
    )


async def not_connected(kafka: Kafka, fault: BaseException, need: str | None = None) -> KafkaError:
    """Of a client that could not start: aiokafka does not say why none of the servers would have it, so they are asked."""
    if isinstance(fault, KafkaConnectionError) and "Unable to bootstrap" in str(fault):
        fault = await kafka_faults.cause(kafka, client_options(kafka)) or fault
    return unreachable(kafka, fault, need)


async def durable_producer(kafka: Kafka, *, need: str | None = None, **more: Any) -> AIOKafkaProducer:
    """Started: acks=all, idempotent, and large enough for every record that our topics take. `need`: the right to write that the
    caller is given, for the sentence where it is missing.
    """
    options: dict[str, Any] = {
        "acks": "all",
        "enable_idempotence": True,
        "max_request_size": topics.MAX_REQUEST_SIZE,
        "request_timeout_ms": 8000,
        **client_options(kafka),
        **more,
    }
    producer = AIOKafkaProducer(**options)
    try:
        await producer.start()
    except (ClientError, OSError) as fault:
        await producer.stop()
        raise await not_connected(kafka, fault, need) from fault
    except BaseException:  # cancelled while it waits for a broker: it would leave its sockets open
        await producer.stop()
        raise
    return producer


async def end_producer(producer: Any, grace: float) -> None:
    """Waits `grace` seconds for what is under way; aiokafka's own stop() would wait for ever while Kafka is away."""
    flush = asyncio.create_task(producer.flush())
    await asyncio.wait([flush], timeout=grace)
    flush.cancel()
    accumulator = producer._message_accumulator
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]
    # A batch that waits for another attempt is where its own end does not look for it: a KeyError in a callback.
    accumulator._pending_batches.update(waiting)
    accumulator.fail_all(ProducerClosed())
    for batch in waiting:
        batch._drain_waiter.exception()  # else asyncio complains that nobody has looked
    try:
        await producer.stop()
    except Exception as fault:  # the batch under way is no longer where its sender left it
        log.debug("the old producer did not close cleanly", fault=repr(fault))
        await producer.client.close()
