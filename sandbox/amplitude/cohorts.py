"""Amplitude's Behavioral Cohorts API, the stand-in's half: which cohorts there are, downloads under way, and the limits.

    amplitude.cohorts.add("7khm89cz", "Power users", [{"user_id": "42", "email": "ann@example.com"}])

Sources: Amplitude's Behavioral Cohorts page. It counts: 500 downloads a month, 60 in ten minutes, 4 in a minute, 5 requests at
once, cohorts of at most 2 million. Where the page is silent (in which words it refuses) this is marked below. It must never know
about HTTP: `cohort_routes` does.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

LARGEST: Final = 2_000_000  # "a maximum cohort size of 2 million users"
IDENTITY: Final = ("amplitude_id", "user_id")

# How a large file comes: as it is, as a .gz file, or compressed on the way.
Encoding = Literal["plain", "gzip", "content-encoding"]


@dataclass
class CohortLimits:
    """What may be asked; a test may tighten it."""

    a_month: int = 500  # "a limit of 500 requests per month. Each Get one cohort request counts"
    windows: Sequence[tuple[int, float]] = ((60, 600.0), (4, 60.0))  # "60 requests per 10 minutes", "4 … per minute"
    at_once: int = 5  # "The concurrency limit is 5 requests"
    link_seconds: float = 60.0  # "Each S3 link is valid only for one minute"
    request_seconds: float = 7 * 86_400.0  # "The API request link is valid for seven days"


@dataclass
class Cohort:
    id: str
    name: str
    users: list[dict[str, Any]] = field(default_factory=list)
    archived: bool = False
    published: bool = True
    size: int | None = None
    """What the list says; None: as many as there are."""


@dataclass
class Download:
    """`properties` None: no user properties were asked for; empty: all of them."""

    id: str
    cohort: Cohort
    properties: list[str] | None
    at: float
    polls: int = 0


@dataclass(frozen=True)
class Refused:
    """The words are ours: the page gives none."""

    status: int
    words: str


class Cohorts:
    """`polls`: how often a download answers "JOB INPROGRESS" before it is done. Files of fewer than `inline_below` users come at
    once, others by a link; `encoding` is theirs. `seconds` is what a request takes, for the limit of those at once.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.limits = CohortLimits()
        self.polls = 1
        self.seconds = 0.0
        self.inline_below = 1000
        self.encoding: Encoding = "plain"
        self.reset()

    def reset(self) -> None:
        self.by_id: dict[str, Cohort] = {}
        self.downloads: dict[str, Download] = {}
        self.links: dict[str, tuple[Download, float]] = {}
        self.requested: list[tuple[float, str]] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._numbers = itertools.count(1)

    def add(
        self,
        cohort_id: str,
        name: str,
        users: Iterable[Mapping[str, Any]] = (),
        *,
        archived: bool = False,
        size: int | None = None,
    ) -> Cohort:
        """`users`: a user_id and properties each. The same id again replaces who is in it."""
        found = Cohort(cohort_id, name, [dict(each) for each in users], archived=archived, size=size)
        self.by_id[cohort_id] = found
        return found

    def described(self) -> list[dict[str, Any]]:
        now = int(self._clock())
        return [
            {
                "lastComputed": now, "owners": ["owner@example.com"], "description": "", "definition": {}, "published": each.published,
                "archived": each.archived, "name": each.name, "appId": "250001", "lastMod": now, "type": "redshift",
                "id": each.id, "size": len(each.users) if each.size is None else each.size,
            }
            for each in self.by_id.values()
        ]  # fmt: skip

    def usage(self) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock(), UTC)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        used = sum(at >= first.timestamp() for at, _ in self.requested)
        resets = following.strftime("%Y-%m-%dT%H:%M:%S+00:00")
        return {"rest_download": {"limit": self.limits.a_month, "usage": used, "resets_at": resets}}

    def request(self, cohort_id: str, properties: list[str] | None) -> Download | Refused:
        now = self._clock()
        usage = self.usage()["rest_download"]
        if usage["usage"] >= usage["limit"]:
            return Refused(429, "Exceeded the monthly limit of cohort download requests")
        for amount, seconds in self.limits.windows:
            if sum(at > now - seconds for at, _ in self.requested) >= amount:
                return Refused(429, f"Exceeded {amount} requests in {seconds:.0f} seconds")
        cohort = self.by_id.get(cohort_id)
        if cohort is None:
            return Refused(404, f"Cohort {cohort_id} not found")
        if len(cohort.users) > LARGEST:
            return Refused(400, "Cohort exceeds the maximum size of 2000000 users")
        self.requested.append((now, cohort_id))
        # Who is in it is settled now: what changes while the download runs is not in the file.
        frozen = Cohort(cohort.id, cohort.name, list(cohort.users))
        made = Download(f"req{next(self._numbers)}", frozen, properties, now)
        self.downloads[made.id] = made
        return made

    def download(self, request_id: str) -> Download | Refused:
        found = self.downloads.get(request_id)
        if found is None or self._clock() - found.at > self.limits.request_seconds:
            return Refused(404, f"Request {request_id} not found")
        return found

    def poll(self, found: Download) -> bool:
        """Whether it is done."""
        found.polls += 1
        return found.polls > self.polls

    def link(self, found: Download) -> str:
        """A name under which the file lies for a minute."""
        name = f"{found.id}-{next(self._numbers)}"
        self.links[name] = (found, self._clock() + self.limits.link_seconds)
        return name

    def linked(self, name: str) -> Download | None:
        found = self.links.get(name)
        return found[0] if found is not None and self._clock() < found[1] else None

    def file(self, found: Download) -> bytes:
        """Each value in quotes, as in the page's example; a column for each property asked for."""
        names: list[str] = []
        if found.properties is not None:
            known = dict.fromkeys(name for user in found.cohort.users for name in user if name not in IDENTITY)
            names = found.properties or list(known)
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([*IDENTITY, *names])
        for number, user in enumerate(found.cohort.users, 356_000_000_000):
            values = (user.get(name) for name in ("user_id", *names))
            writer.writerow([number, *("" if value is None else value for value in values)])
        return out.getvalue().encode()

    def packed(self, found: Download) -> bytes:
        file = self.file(found)
        return file if self.encoding == "plain" else gzip.compress(file, 1)
