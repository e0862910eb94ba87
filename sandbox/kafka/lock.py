"""The list of jars that make up the broker, with their sizes and SHA-256 sums: `kafka.lock`, beside this file.

It is committed, so that every machine fetches exactly the bytes that were tested (see relock.py for where it comes from).
Reading it must never need the network, nor jgo.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = Path(__file__).with_name("kafka.lock")


@dataclass(frozen=True, slots=True)
class Jar:
    """`coordinate` is `group:artifact:version`; `size` in bytes."""

    coordinate: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Lock:
    """`jars` stand in class path order."""

    version: str
    jars: tuple[Jar, ...]

    @property
    def size(self) -> int:
        return sum(jar.size for jar in self.jars)

    def render(self) -> str:
        head = f"# Written by `python -m sandbox.kafka.relock {self.version}`: SHA-256, bytes, coordinate.\nkafka {self.version}\n"
        return head + "".join(f"{jar.sha256} {jar.size} {jar.coordinate}\n" for jar in self.jars)


def parse_lock(text: str) -> Lock:
    version = ""
    jars = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("kafka "):
            version = line.removeprefix("kafka ")
            continue
        sha256, size, coordinate = line.split()
        jars.append(Jar(coordinate, int(size), sha256))
    return Lock(version, tuple(jars))


def read_lock() -> Lock:
    return parse_lock(LOCK_FILE.read_text())


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
