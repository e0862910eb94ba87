"""The status of one connection, in the words that people read. Pure: everything it is told comes in as `Evidence`.

Worked out from Kafka alone, so that it is right while every worker is dead; what a worker says of itself counts more where
it can be asked. It must never say Connected of what is refused, nor claim that nothing ever came before it has looked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from console.process_metrics import Hook
from console.refusals import vendor_of
from listwire.metrics import Status
from listwire.spoken import duration

# A delivery with its retries takes seconds; what waits longer is behind.
BEHIND_AFTER = 30.0
# One process may not have met the refusal yet that another one has just written down.
REFUSED_LATELY = 60.0
NO_WORKER = "No worker is running"


class Kind(StrEnum):
    """How a status looks; its words say the same."""

    GOOD = "good"
    IDLE = "idle"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Evidence:
    """Times in seconds since the epoch; None: not known, or there is none.

    `looked_through`: an event that is not known here cannot be in Kafka; `gave_up`: there are too many records to say so. `oldest_waiting`: when its oldest record that no
    worker has settled came in. `refused_at` and `refusal`: its newest open dead letter for a refused key. `delivered_at`: when
    the newest record came in that was certainly delivered. `worker`: what a worker says of it. `working`: its group has members. `hook`: its webhook at Mailchimp, where
    somebody has looked.
    """

    last_event: float | None = None
    looked_through: bool = True
    gave_up: bool = False
    oldest_waiting: float | None = None
    refused_at: float | None = None
    refusal: str = ""
    delivered_at: float | None = None
    worker: Status | None = None
    worker_since: float | None = None
    working: bool = True
    paused: str | None = None
    hook: Hook | None = None


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    words: str
    notes: tuple[str, ...] = ()


def verdict(connection: str, found: Evidence, now: float) -> Verdict:
    """What stands first matters most: a webhook that is gone (what it misses is nowhere), a pause, a refusal, a delay."""
    behind = _behind(found, now)
    late: tuple[str, ...] = (f"Behind by {duration(behind)}",) if behind is not None else ()
    alone: tuple[str, ...] = () if found.working else (NO_WORKER,)
    vendor = vendor_of(connection)
    if found.hook in {Hook.GONE, Hook.CHANGED}:
        source = connection.partition(".")[2]
        gone = found.hook is Hook.GONE
        words = (
            "Webhook gone: Mailchimp no longer sends here"
            if gone
            else "Webhook changed: Mailchimp does not send what it should"
        )
        mend = f"`listwire hooks ensure --source {source}` {'makes it again' if gone else 'puts it right'}"
        return Verdict(Kind.BAD, words, (mend, *late, *alone))
    if found.paused is not None:
        reason = f": {found.paused}" if found.paused else ""
        told = f"By listwire pause{reason}; its records become dead letters until it is resumed"
        return Verdict(Kind.WARNING, "Paused", (told, *alone))
    if _refused(found, now):
        said = found.refusal or f"{vendor} does not accept the key"
        return Verdict(Kind.BAD, f"Refused: {said}", (*late, *alone, *_untried(found)))
    if behind is not None:
        why = (f"{vendor} does not answer; the worker tries again",) if found.worker is Status.RETRYING else ()
        return Verdict(Kind.WARNING, late[0], (*why, *alone))
    if found.last_event is None:
        if found.gave_up:
            return Verdict(Kind.IDLE, "Waiting for an event", ("None among the newest records of its topic", *alone))
        if not found.looked_through:
            return Verdict(Kind.IDLE, "Looking for its last event", alone)
        return Verdict(Kind.IDLE, "Waiting for the first event", alone)
    if not found.working:
        return Verdict(Kind.WARNING, NO_WORKER, ("Nothing waits",))
    if found.worker is Status.RETRYING:
        return Verdict(Kind.WARNING, "Trying again", (f"{vendor} does not answer; nothing is lost",))
    return Verdict(Kind.GOOD, "Connected")


def _behind(found: Evidence, now: float) -> float | None:
    """Without a worker nothing will move it, so even a second counts."""
    if found.oldest_waiting is None:
        return None
    seconds = now - found.oldest_waiting
    return seconds if seconds >= (BEHIND_AFTER if found.working else 1.0) else None


def _refused(found: Evidence, now: float) -> bool:
    if found.worker is Status.REFUSED:
        return True
    if found.refused_at is None or (found.delivered_at is not None and found.delivered_at > found.refused_at):
        return False
    accepted = found.worker in {Status.CONNECTED, Status.RETRYING}
    return not accepted or now - found.refused_at < REFUSED_LATELY


def _untried(found: Evidence) -> tuple[str, ...]:
    """A worker that was started after the refusal has not tried yet: perhaps with a better key."""
    fresh = (
        found.worker is Status.WAITING
        and found.worker_since is not None
        and found.refused_at is not None
        and found.worker_since > found.refused_at
    )
    return ("The worker was started since; the next event shows whether it is accepted now",) if fresh else ()
