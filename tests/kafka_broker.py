"""One broker for all the tests of a run, whichever worker of pytest-xdist they run in.

Order of choice: `LISTWIRE_TEST_BOOTSTRAP=host:port` names one that runs already; `LISTWIRE_TEST_KAFKA=docker` takes a
container where Docker answers; else the embedded one. Tests share it, so each must use topics and groups of its own.

Under xdist nobody can say which worker comes first or leaves last, or whether one crashes. So a process of its own holds
the broker (this file, run as a program); each worker holds a shared lock while it may use the broker, which the system
drops even if the worker is killed; and the holder stops the broker once nobody holds that lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.kafka import EmbeddedKafka
from sandbox.kafka.ports import serves
from sandbox.kafka.properties import BROKER_DEFAULTS

if TYPE_CHECKING:
    import pytest

_START_WITHIN = 240.0  # the first run on a machine fetches Kafka
_LOOK_EVERY = 0.1


@contextmanager
def broker_for_session(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """Yields the bootstrap address. `worker_id` is xdist's, or "master" without it."""
    given = os.environ.get("LISTWIRE_TEST_BOOTSTRAP")
    if given:
        yield given
    elif worker_id == "master":
        with own_broker() as bootstrap:
            yield bootstrap
    else:
        # Each worker has its own directory in the run's; the parent is common to all workers of this run.
        with shared_broker(tmp_path_factory.getbasetemp().parent / "kafka") as bootstrap:
            yield bootstrap


@contextmanager
def own_broker() -> Iterator[str]:
    if os.environ.get("LISTWIRE_TEST_KAFKA") == "docker" and docker_answers():
        with _container() as bootstrap:
            yield bootstrap
    else:
        with EmbeddedKafka() as broker:
            yield broker.bootstrap_servers


def docker_answers() -> bool:
    from testcontainers.core.docker_client import DockerClient

    try:
        with contextlib.closing(DockerClient(timeout=5).client) as client:
            client.ping()
    except Exception:  # whatever the reason, there is no container to be had
        return False
    return True


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer().with_kraft()
    for name, value in BROKER_DEFAULTS.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        yield container.get_bootstrap_server()


@contextmanager
def shared_broker(directory: Path) -> Iterator[str]:
    """The same broker for every process that comes with the same directory, as long as one of them is inside."""
    directory.mkdir(exist_ok=True)
    with (directory / "users").open("a") as users:
        with _turn(directory):
            bootstrap = _address(directory) or _start_holder(directory)
            fcntl.flock(users, fcntl.LOCK_SH)
        yield bootstrap


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """One process at a time looks for the broker, starts it or stops it."""
    with (directory / "turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _address(directory: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        address = (directory / "address").read_text()
        # Its holder may have been killed, and the broker with it.
        if serves(int(address.rpartition(":")[2]), timeout=10):
            return address
        (directory / "address").unlink()
    return ""


def _start_holder(directory: Path) -> str:
    said = directory / "holder.log"
    with said.open("wb") as output:
        holder = subprocess.Popen(
            [sys.executable, __file__, str(directory)],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end = time.monotonic() + _START_WITHIN
    while not (directory / "address").exists():
        if holder.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"No broker for the tests: {said.read_text(errors='replace')}")
        time.sleep(_LOOK_EVERY)
    holder.returncode = 0  # it outlives this process on purpose: nothing here waits for it, nor warns that nobody does
    return (directory / "address").read_text()


def hold(directory: Path) -> None:
    """Starts a broker, tells its address, and stops it when its last user is gone."""
    with own_broker() as bootstrap, (directory / "users").open("a") as users:
        new = directory / "address.new"
        new.write_text(bootstrap)
        new.rename(directory / "address")
        while True:
            time.sleep(_LOOK_EVERY)
            with _turn(directory):
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
                (directory / "address").unlink(missing_ok=True)
                return


if __name__ == "__main__":
    hold(Path(sys.argv[1]))
