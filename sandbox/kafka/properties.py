"""What the broker is told: `server.properties` and its log's configuration, as text. Pure: no file, no process.

The settings fit a machine for development and tests: topics are made on purpose only, groups form at once, consumers may
have short sessions, records of 16 MiB pass, and nothing is deleted unless a topic's own retention says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.kafka.certificate import Certificate

_MIB = 1024 * 1024

_NODE: dict[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
}

# Also what a broker in a container is given, so that tests meet the same broker either way.
BROKER_DEFAULTS: dict[str, str] = {
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    # One broker cannot replicate; few partitions, because each is a directory made when the first group joins.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "min.insync.replicas": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "message.max.bytes": str(16 * _MIB),
    "replica.fetch.max.bytes": str(16 * _MIB),
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    # Kafka's own value takes 128 MiB of heap at once, for topics that are never that large here.
    "log.cleaner.dedupe.buffer.size": str(8 * _MIB),
    "log.cleaner.threads": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "controlled.shutdown.enable": "true",
    # After a crash the controller lets the same broker in again only when its former session is over: 9 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
}


@dataclass(frozen=True, slots=True)
class SecureListener:
    """A second listener with SASL_SSL and SCRAM, and an authorizer behind it; the plain one stays for administration.

    `users` are names and passwords; they are made when the data directory is formatted. Whoever comes through this
    listener may do only what an ACL allows.
    """

    users: Mapping[str, str]
    port: int = 0
    mechanism: str = "SCRAM-SHA-512"

    def scram_arguments(self) -> list[str]:
        """What `StorageTool format` needs, so that the users exist before the broker first starts."""
        return [
            part
            for name, password in self.users.items()
            for part in ("--add-scram", f"{self.mechanism}=[name={name},password={password}]")
        ]

    def properties(self, certificate: Certificate) -> dict[str, str]:
        prefix = "listener.name.secure"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "sasl.enabled.mechanisms": self.mechanism,
            f"{prefix}.{self.mechanism.lower()}.sasl.jaas.config": login,
            f"{prefix}.ssl.keystore.type": "PKCS12",
            f"{prefix}.ssl.keystore.location": str(certificate.keystore),
            f"{prefix}.ssl.keystore.password": certificate.password,
            f"{prefix}.ssl.key.password": certificate.password,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # whoever comes through the plain listener, on loopback
            "allow.everyone.if.no.acl.found": "false",
        }


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything `server.properties` is made of. `extra` wins over all defaults."""

    data: Path
    port: int
    controller_port: int
    secure: SecureListener | None = None
    secure_port: int = 0
    certificate: Certificate | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def properties(self) -> dict[str, str]:
        listeners = {"PLAINTEXT": self.port}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        found = _NODE | BROKER_DEFAULTS
        if self.secure is not None and self.certificate is not None:
            listeners["SECURE"] = self.secure_port
            protocols["SECURE"] = "SASL_SSL"
            found |= self.secure.properties(self.certificate)
        found |= {
            "log.dirs": str(self.data),
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": _addresses({**listeners, "CONTROLLER": self.controller_port}),
            "advertised.listeners": _addresses(listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        }
        return found | dict(self.extra)


def _addresses(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())


def render_properties(properties: Mapping[str, str]) -> str:
    """A Java properties file. Values with a line break, a backslash or a letter outside Latin-1 survive."""
    return "".join(f"{_escape(name, key=True)}={_escape(value)}\n" for name, value in properties.items())


def _escape(text: str, *, key: bool = False) -> str:
    out = []
    for position, letter in enumerate(text):
        if letter in "\n\r\t\f":
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}[letter])
        elif letter == "\\" or (key and letter in ":= #!") or (position == 0 and letter in " #!"):
            out.append("\\" + letter)
        elif " " <= letter <= "~":
            out.append(letter)
        else:
            code = letter.encode("utf-16-be")
            out += [f"\\u{code[at : at + 2].hex()}" for at in range(0, len(code), 2)]
    return "".join(out)


def render_log_configuration(log_file: Path | None, level: str = "WARN") -> str:
    """log4j 2 properties: warnings and worse into one file that cannot grow without end, or to stderr without one."""
    layout = {"layout.type": "PatternLayout", "layout.pattern": "%d{ISO8601} %-5p %m (%c)%n%throwable"}
    appender: dict[str, str]
    if log_file is None:
        appender = {"type": "Console", "name": "out", "target": "SYSTEM_ERR"}
    else:
        appender = {
            "type": "RollingFile",
            "name": "out",
            "fileName": str(log_file),
            "filePattern": f"{log_file}.%i",
            "policies.type": "Policies",
            "policies.size.type": "SizeBasedTriggeringPolicy",
            "policies.size.size": "10MB",
            "strategy.type": "DefaultRolloverStrategy",
            "strategy.max": "2",
        }
    return render_properties(
        {
            "status": "ERROR",
            **{f"appender.out.{name}": value for name, value in (appender | layout).items()},
            "rootLogger.level": level,
            "rootLogger.appenderRef.out.ref": "out",
        }
    )
