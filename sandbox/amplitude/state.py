"""What the stand-in has accepted, in the order of arrival, and what it saw: the proof that tests and load runs read.

An event counts once per API key, device and insert_id for seven days ("Amplitude ignores subsequent events sent with
the same insert_id on the same device_id … within the past 7 days"); without a device_id the user_id takes its place,
since Amplitude derives one from the other. Rows lie in columns, so that one or two million fit in memory. This module
must never judge an event: whatever is handed to `accept` is accepted or is a duplicate.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sandbox.amplitude.journal import Entry, Journal, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEDUP_SECONDS = 7 * 86_400


class Row(NamedTuple):
    """One accepted event, without its content. `contact_id` is `event_properties.contact_id`; `time` in ms."""

    seq: int
    api_key: str
    user_id: str | None
    contact_id: str | None
    insert_id: str | None
    time: int


@dataclass(slots=True)
class RequestSeen:
    """One request, faults included: `accepted` and `duplicates` say what happened, `status` what was answered (0: nothing)."""

    at: float
    path: str
    api_key: str = ""
    events: int = 0
    accepted: int = 0
    duplicates: int = 0
    status: int = 0
    size: int = 0


def app_digest(api_key: str) -> str:
    """What stands for an API key in a journal."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:8]


class State:
    """`keep="full"` keeps whole events in `events`; "ids" only the rows (about 0.4 KB each). A journal that already
    has entries is read back first: keys seen there show as their digest until they are used again.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        keep: Literal["full", "ids"] = "full",
        journal: Journal | None = None,
        ring: int = 10_000,
    ) -> None:
        self.keep = keep
        self._clock = clock
        self._journal = journal
        self._ring = ring
        self.in_flight = 0
        self.reset(truncate_journal=False)
        if journal is not None:
            for entry in read(journal.path):
                self._append(self._app_by_digest(entry.app, entry.app), entry, None)

    def reset(self, *, truncate_journal: bool = True) -> None:
        self.requests = 0
        self.by_status: Counter[int] = Counter()
        self.duplicates = 0
        self.max_in_flight = self.in_flight
        self.recent: deque[RequestSeen] = deque(maxlen=self._ring)
        self.events: list[dict[str, Any]] = []
        """Whole events in arrival order, with keep="full" only (and never those read back from a journal)."""
        self._keys: dict[str, int] = {}
        self._digests: dict[str, int] = {}
        self._labels: list[str] = []
        self._per_app: list[int] = []
        self._seen: list[dict[str, int]] = []
        self._elsewhere: dict[tuple[int, str, str], int] = {}
        self._apps = array("H")
        self._users: list[str | None] = []
        self._contacts: list[str | None] = []
        self._insert_ids: list[str | None] = []
        self._times = array("q")
        self._accepted_at = array("d")
        self._devices: dict[int, str] = {}
        if truncate_journal and self._journal is not None:
            self._journal.clear()

    # Accepting ----------------------------------------------------------------------------------------------------

    def accept(self, api_key: str, events: list[dict[str, Any]]) -> tuple[int, int]:
        """Take every event that is no repetition; (accepted, duplicates). Missing `time` becomes the upload time."""
        app = self._keys.get(api_key)
        if app is None:
            app = self._keys[api_key] = self._app_by_digest(app_digest(api_key), api_key)
        now = self._clock()
        written: list[Entry] = []
        taken = 0
        for event in events:
            insert_id, user, device = event.get("insert_id"), event.get("user_id"), event.get("device_id")
            if insert_id and self._repeats(app, insert_id, user, device, now):
                continue
            properties = event.get("event_properties")
            contact = properties.get("contact_id") if properties else None
            entry = Entry(
                len(self._users),
                "",
                insert_id or None,
                None if user is None else sys.intern(user),
                sys.intern(contact) if type(contact) is str else None,
                event.get("time") or int(now * 1000),
                int(now * 1000),
                device,
            )
            self._append(app, entry, event)
            taken += 1
            if self._journal is not None:
                written.append(entry._replace(app=app_digest(api_key)))
        if self._journal is not None and written:
            self._journal.write(written)
        self.duplicates += len(events) - taken
        return taken, len(events) - taken

    def _app_by_digest(self, digest: str, label: str) -> int:
        app = self._digests.setdefault(digest, len(self._labels))
        if app == len(self._labels):
            self._labels.append(label)
            self._per_app.append(0)
            self._seen.append({})
        self._labels[app] = label
        return app

    def _repeats(self, app: int, insert_id: str, user: str | None, device: str | None, now: float) -> bool:
        seq = self._seen[app].get(insert_id)
        if seq is None:
            return False
        if self._devices.get(seq) != device or (device is None and self._users[seq] != user):
            seq = self._elsewhere.get((app, insert_id, _identity(user, device)))
        return seq is not None and now - self._accepted_at[seq] < DEDUP_SECONDS

    def _append(self, app: int, entry: Entry, event: dict[str, Any] | None) -> None:
        seq = len(self._users)
        insert_id, user, device = entry.insert_id, entry.user_id, entry.device_id
        self._per_app[app] += 1
        self._apps.append(app)
        self._users.append(user)
        self._contacts.append(entry.contact_id)
        self._insert_ids.append(insert_id)
        self._times.append(entry.time)
        self._accepted_at.append(entry.accepted_at / 1000)
        if device is not None:
            self._devices[seq] = device
        if insert_id is not None:
            before = self._seen[app].setdefault(insert_id, seq)
            if before != seq:
                self._elsewhere[app, insert_id, _identity(user, device)] = seq
                if _identity(self._users[before], self._devices.get(before)) == _identity(user, device):
                    self._seen[app][insert_id] = seq
        if event is not None and self.keep == "full":
            self.events.append(event)

    # Requests -----------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def leave(self, seen: RequestSeen) -> None:
        self.in_flight -= 1
        self.requests += 1
        self.by_status[seen.status] += 1
        self.recent.append(seen)

    # Reading ------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Events accepted, repetitions not counted."""
        return len(self._users)

    def rows(self, since: int = 0, *, user_id: str | None = None) -> Iterator[Row]:
        """Accepted events with `seq >= since`, in arrival order, up to those there when the reading began."""
        for seq in range(since, len(self._users)):
            if user_id is None or self._users[seq] == user_id:
                yield self._row(seq)

    def _row(self, seq: int) -> Row:
        return Row(
            seq,
            self._labels[self._apps[seq]],
            self._users[seq],
            self._contacts[seq],
            self._insert_ids[seq],
            self._times[seq],
        )

    def insert_ids(self) -> Iterable[str | None]:
        """One an accepted event, in arrival order."""
        return (self._insert_ids[seq] for seq in range(len(self._insert_ids)))

    def by_user(self) -> dict[str | None, list[Row]]:
        """Each user's events in arrival order."""
        users: dict[str | None, list[Row]] = defaultdict(list)
        for row in self.rows():
            users[row.user_id].append(row)
        return users

    def per_api_key(self) -> dict[str, int]:
        return dict(zip(self._labels, self._per_app, strict=True))

    def users(self) -> int:
        """Counted anew each time: 0.1 s for a million events."""
        return len(set(self._users))


def _identity(user: str | None, device: str | None) -> str:
    return f"user {user}" if device is None else f"device {device}"
