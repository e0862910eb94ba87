"""Why Kafka does not have us, in one sentence that names the settings key to look at, or the right that is missing.

aiokafka logs what went wrong with a connection and raises only that none could be made, so whoever meets that asks once more
here. Must never show a password: words come from Kafka and OpenSSL, which are not told it in a form they repeat.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from aiokafka import errors
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError as ClientError
from aiokafka.protocol.metadata import MetadataRequest

from listwire import logs
from listwire.settings.models import Kafka

ASK_WITHIN = 5.0
# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME = frozenset({62, 64})
DENIED = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)
LIST = "`listwire topics acls` prints what each process needs."
_USUAL = {
    errors.TopicAuthorizationFailedError: "Read or Write on the topic {}",
    errors.GroupAuthorizationFailedError: "Read on the group {}",
    errors.TransactionalIdAuthorizationFailed: "Write on the transactional id {}",
}


def denied(fault: BaseException, need: str | None = None, user: str | None = None) -> str | None:
    """`need` is the right that the caller had use of: "Read on the topic X", or with `{}` for the name that Kafka gives."""
    if not isinstance(fault, DENIED):
        return None
    if isinstance(fault, errors.ClusterAuthorizationFailedError):
        need = need or "Write on a topic of ours (without any, Kafka lets nobody begin an idempotent producer)"
    elif need is None:
        need = _USUAL[type(fault)]
    named = [each for arg in fault.args for each in (sorted(arg) if isinstance(arg, set | frozenset | list) else [arg])]
    return not_allowed(need.format(", ".join(map(str, named)) or "of ours"), user)


def not_allowed(need: str, user: str | None = None) -> str:
    who = f"the user {user!r}" if user else "this user"
    return f"Kafka does not let {who} do this: allow it {need}. {LIST}"


def denied_in(fault: BaseException | None, need: str | None = None, user: str | None = None) -> str | None:
    """The same of whatever a library raised because of it."""
    seen: set[int] = set()
    while fault is not None and id(fault) not in seen:
        seen.add(id(fault))
        if words := denied(fault, need, user):
            return words
        fault = fault.__cause__ or fault.__context__
    return None


logs.explain_with(denied_in)


def no_connection(kafka: Kafka, fault: BaseException) -> str | None:
    """Of what went wrong before Kafka knew us; None where it is not one of these."""
    protocol = kafka.security_protocol
    if isinstance(fault, errors.SaslAuthenticationFailed | errors.AuthenticationFailedError):
        return (
            f"it refuses the login of {kafka.sasl_username!r}: check kafka.sasl_username and kafka.sasl_password, "
            f"and that the user has a {kafka.sasl_mechanism} password"
        )
    if isinstance(fault, errors.UnsupportedSaslMechanismError):
        return f"it does not offer this login: kafka.sasl_mechanism is {kafka.sasl_mechanism!r}"
    if isinstance(fault, errors.IllegalSaslStateError):
        return (
            f"this port asks for no login: kafka.security_protocol is {protocol!r}, or the port is another listener's"
        )
    if isinstance(fault, ssl.SSLCertVerificationError):
        if fault.verify_code in _OTHER_NAME:
            return (
                "its certificate bears another name: write the name it bears into kafka.bootstrap_servers, and see that the "
                f"brokers advertise it ({fault.verify_message})"
            )
        where = f"kafka.ssl_cafile = {str(kafka.ssl_cafile)!r}" if kafka.ssl_cafile else "the system's authorities"
        return (
            f"its certificate is not of an authority in {where}: kafka.ssl_cafile must name the PEM file of the "
            f"authority that signed it ({fault.verify_message})"
        )
    if "SSL" in protocol and isinstance(fault, ssl.SSLError):
        return f"TLS fails ({fault.reason or fault}): check kafka.security_protocol, kafka.ssl_certfile and the port"
    if isinstance(fault, ConnectionRefusedError):
        return "none of these servers answers: check kafka.bootstrap_servers, and that the broker is up"
    if isinstance(fault, socket.gaierror):
        return "there is no such host: check kafka.bootstrap_servers"
    if isinstance(fault, TimeoutError):
        return None
    if isinstance(fault, ConnectionResetError | errors.KafkaConnectionError):
        speaks = "TLS" if "SSL" in protocol else "no TLS"
        login = "a login" if protocol.startswith("SASL") else "no login"
        return (
            f"it takes the connection and closes it: kafka.security_protocol = {protocol!r} means {speaks} and {login}, and this "
            "port may be another listener's"
        )
    return None


async def cause(kafka: Kafka, options: dict[str, Any]) -> BaseException | None:
    """Asks each server once what it has against us; the first fault, or None where one answers by now."""
    more = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    first: BaseException | None = None
    for server in (kafka.bootstrap_servers or "").split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            async with asyncio.timeout(ASK_WITHIN):
                connection = await create_conn(
                    host.strip("[]"), int(port), request_timeout_ms=int(ASK_WITHIN * 1000), **more
                )
                try:
                    await connection.send(MetadataRequest([]))
                finally:
                    connection.close()
        except (ClientError, OSError, ValueError) as fault:
            first = first or fault
        else:
            return None
    return first
