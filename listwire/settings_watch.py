"""Whether the settings on disk still are those that a process runs with: looked at every few seconds, by every process.

It only tells: in the log once a change, and as `listwire_settings_stale`. What to do about it is the caller's: `listwire up`
starts its processes again, the console takes new connections over, everything else waits for a restart. It must never take a
file that is being written for a change, and never show a secret.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from listwire import logs, metrics
from listwire.errors import SettingsError
from listwire.redaction import secrets_in
from listwire.settings import Settings

EVERY = 2.0

log = logs.get("listwire.settings")
Stamp = tuple[tuple[str, int, int, int], ...]


class State(StrEnum):
    SAME = "same"
    CHANGED = "changed"  # and valid: `newest` holds them
    INVALID = "invalid"  # what stands on disk could not start


class SettingsWatch:
    """`but` names sections whose changes do not count. `changed` is called with valid new settings, once a change; `invalid` with the
    sentence about others.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        but: Collection[str] = (),
        changed: Callable[[Settings], None] | None = None,
        invalid: Callable[[str], None] | None = None,
    ) -> None:
        self.origin = settings.origin
        self._timer: asyncio.TimerHandle | None = None
        self.but = frozenset(but)
        self.changed = changed
        self.invalid = invalid
        self.state = State.SAME
        self.newest = self.origin.loaded
        self.fault = ""
        self._begin()

    def _begin(self) -> None:
        """The files are read once more even if they stand still now: they may have changed since these settings were loaded."""
        self._running = self._known = fingerprint(self.newest, self.but)
        self._seen: Stamp = self._look_at_files(self.newest)
        self._stamp: Stamp | None = None
        metrics.SETTINGS_STALE().set(0)

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> Self:
        """Looks by itself from now on, until `stop`. A timer, not a task: Faust's loop waits for tasks when it ends."""
        loop = loop or asyncio.get_running_loop()
        self._timer = loop.call_later(EVERY, self._turn, loop)
        return self

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self.start(loop)
        self.look()

    def look(self) -> State:
        """A change counts when it has stood still from one look to the next: an editor may be in the middle of it."""
        stamp = self._look_at_files(self.newest)
        if stamp != self._seen or stamp == self._stamp:
            self._seen = stamp
            return self.state
        self._stamp = stamp
        self._read()
        metrics.SETTINGS_STALE().set(int(self.is_stale))
        return self.state

    def take(self, settings: Settings) -> None:
        """From now on the process runs with these."""
        self.origin = settings.origin
        self.newest, self.state, self.fault = self.origin.loaded, State.SAME, ""
        self._begin()

    def _read(self) -> None:
        try:
            found = self.origin.load()
            print_ = fingerprint(found, self.but)
        except (SettingsError, PydanticCustomError) as fault:
            self.state, self.fault = State.INVALID, str(fault)
            log.warning(
                "the settings on disk have changed and are not valid; going on with the old ones", detail=self.fault
            )
            if self.invalid is not None:
                self.invalid(self.fault)
            return
        before, known = self.state, self._known
        self.newest, self.fault, self._known = found, "", print_
        if print_ == self._running:
            self.state = State.SAME
            return
        self.state = State.CHANGED
        if before is not State.CHANGED or print_ != known:
            if self.changed is not None:
                self.changed(found)
            if self.is_stale:
                log.warning("the settings on disk have changed; this process needs a restart to use them")

    @property
    def is_stale(self) -> bool:
        return self.state is not State.SAME

    def _look_at_files(self, settings: Settings) -> Stamp:
        return tuple(_stat(file) for file in files_of(settings))


def files_of(settings: Settings) -> list[Path]:
    """The settings file, those of `connections.d/`, and every file that holds a secret of theirs."""
    file = settings.origin.file
    found = [file] if file is not None else []
    directory = settings.origin.connections
    found += [directory, *sorted(directory.glob("*.toml"))]
    return found + sorted(set(_secret_files(settings)))


def _secret_files(table: BaseModel) -> Iterator[Path]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, Path) and name.endswith("_file"):
            yield value
        for each in value.values() if isinstance(value, dict) else [value]:
            if isinstance(each, BaseModel):
                yield from _secret_files(each)


def _stat(file: Path) -> tuple[str, int, int, int]:
    """A directory only by its being there: a temporary file that comes and goes in it changes nothing."""
    try:
        found = file.stat()
    except OSError:
        return (str(file), 0, 0, 0)
    return (str(file), 1, 0, 0) if file.is_dir() else (str(file), found.st_mtime_ns, found.st_size, found.st_ino)


def fingerprint(settings: Settings, but: Collection[str] = ()) -> str:
    """Equal for equal settings, secrets included; those in files by what the files hold now."""
    found = hashlib.sha256(settings.model_dump_json(exclude=set(but)).encode())
    for name in type(settings).model_fields:
        if name not in but:
            for table in _tables(getattr(settings, name)):
                for secret in secrets_in(table):
                    found.update(b"\0" + secret.encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _tables(value: object) -> Iterator[BaseModel]:
    for each in value.values() if isinstance(value, dict) else [value]:
        if isinstance(each, BaseModel):
            yield each
