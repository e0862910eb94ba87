"""A certificate of its own for the secure listener, made by the JRE's keytool, and the same in PEM for clients."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from listwire.errors import SandboxError
from sandbox.kafka.java import java

_WITHIN = 60.0
_DAYS = "3650"


@dataclass(frozen=True, slots=True)
class Certificate:
    """`keystore` is PKCS#12; `pem` is what a client must trust (aiokafka: `create_ssl_context(cafile=…)`)."""

    keystore: Path
    password: str
    pem: Path


def ensure_certificate(directory: Path) -> Certificate:
    """Made once for a directory, so that clients may keep their copy over restarts."""
    found = Certificate(directory / "secure.p12", "", directory / "secure.pem")
    password_file = directory / "secure.password"
    if found.pem.exists():
        return Certificate(found.keystore, password_file.read_text(), found.pem)
    found.keystore.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password = secrets.token_hex(16)
    password_file.write_text(password)
    store = [
        "-keystore",
        str(found.keystore),
        "-storetype",
        "PKCS12",
        "-storepass:file",
        str(password_file),
        "-alias",
        "kafka",
    ]
    _keytool("-genkeypair", *store, "-keyalg", "EC", "-groupname", "secp256r1", "-validity", _DAYS)
    pem = _keytool("-exportcert", "-rfc", *store)
    found.pem.write_text(pem)  # last: its presence says that all is there
    return Certificate(found.keystore, password, found.pem)


def _keytool(action: str, *arguments: str) -> str:
    if action == "-genkeypair":
        arguments = (*arguments, "-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1")
    command = [str(java().with_name("keytool")), action, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_WITHIN, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise SandboxError(f"No certificate could be made for the embedded Kafka: {done.stdout}{done.stderr}")
    return done.stdout
