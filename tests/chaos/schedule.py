"""What happens when in a chaos run: a pure function of a seed and a length, so that a seed replays the very same schedule.

Each kind of process has its own shuffled deck of actions and its own times, so that one kind waits for no other and a short run,
too, meets many of them. Nothing here knows how an action is done.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

WORKERS: Final = {"subscriptions": ("subscriptions-0", "subscriptions-1"), "cohorts": ("cohorts-0", "cohorts-1")}
# The workers' session with Kafka ends after ten seconds: what sleeps longer has lost its partitions when it wakes.
SHORT_SLEEP: Final = (1.0, 6.0)
LONG_SLEEP: Final = (11.5, 15.0)
# Longer than the stage's `park_after`, so that records become dead letters and a probe finds the key good again.
REFUSAL: Final = (5.0, 9.0)
# How far a restarted worker's clock may be off, seconds.
SKEWS: Final = (0.0, 0.0, 0.0, 3600.0, -3600.0, 86_400.0 * 3)

# What is done to each kind of process, and the mean seconds between two such actions. A worker that was killed is a member of its
# group for ten seconds more, and what comes sooner than that meets nothing but a group that waits; without the broker nobody works.
DECKS: Final[dict[str, tuple[str, ...]]] = {
    "ingress": (*["kill"] * 4, *["term"] * 3, "freeze", "freeze long"),
    "subscriptions": (*["kill"] * 4, *["term"] * 3, "freeze", "freeze long", "join"),
    "cohorts": (*["kill"] * 4, *["term"] * 3, "freeze", "freeze long", "join"),
    "broker": (*["kill"] * 3, *["term"] * 2, "freeze", "freeze long", "fill disk"),
}
EVERY: Final = {"ingress": 13.0, "subscriptions": 18.0, "cohorts": 18.0, "broker": 60.0}
AMPLITUDE: Final = (
    "errors before", "errors after", "resets before", "resets after", "hangs before", "hangs after", "slow answers",
    "cut answers", "throttled users", "users over quota", "small requests only", "nobody listens", "key refused", "poison",
)  # fmt: skip
MAILCHIMP: Final = (
    "errors before", "errors after", "resets before", "resets after", "hangs before", "hangs after", "slow answers",
    "too many requests", "hammered", "key refused",
)  # fmt: skip


@dataclass(frozen=True)
class Action:
    """`what` is kill, term, freeze, "freeze long", "fill disk", join, or the vendor whose fault `whom` then names. `seconds` is how long it
    lasts: a process stays away, sleeps or is there; a disk is full; a fault is in force. `skew` is the error of the restarted worker's clock.
    """

    at: float
    what: str
    whom: str
    seconds: float
    skew: float = 0.0

    def __str__(self) -> str:
        skewed = f", back with its clock {self.skew:+.0f} s off" if self.skew else ""
        return f"{self.at:7.1f} s  {self.what:11} {self.whom} ({self.seconds:.1f} s{skewed})"


def schedule(seed: int, minutes: float, *, pace: float = 1.0, faults_every: float = 5.0) -> list[Action]:
    """`pace`: how many times as dense as `EVERY` says; `faults_every`: mean seconds between two faults, of each vendor."""
    end = minutes * 60
    planned = [
        *_faults(random.Random(f"amplitude {seed}"), end, faults_every, "amplitude", AMPLITUDE),
        *_faults(random.Random(f"mailchimp {seed}"), end, faults_every, "mailchimp", MAILCHIMP),
    ]
    for kind, deck in DECKS.items():
        planned += _on_processes(random.Random(f"{kind} {seed}"), end, EVERY[kind] / pace, kind, deck)
    return sorted(planned, key=lambda action: (action.at, action.what, action.whom))


def _on_processes(dice: random.Random, end: float, every: float, kind: str, cards: Sequence[str]) -> Iterator[Action]:
    deck = _dealt(dice, cards)
    for at in _moments(dice, end, every):
        what = next(deck)
        whom = kind if what == "join" else dice.choice(WORKERS.get(kind, (kind,)))
        match what:
            case "freeze":
                seconds, skew = dice.uniform(*SHORT_SLEEP), 0.0
            case "freeze long":
                seconds, skew = dice.uniform(*LONG_SLEEP), 0.0
            case "fill disk":
                seconds, skew = dice.uniform(3.0, 6.0), 0.0
            case "join":
                seconds, skew = dice.uniform(4.0, 10.0), 0.0
            case _:
                seconds = dice.uniform(0.0, 3.0)
                skew = dice.choice(SKEWS) if kind in WORKERS else 0.0
        yield Action(at, what, whom, round(seconds, 2), skew)


def _faults(dice: random.Random, end: float, every: float, vendor: str, names: Sequence[str]) -> Iterator[Action]:
    deck = _dealt(dice, names)
    for at in _moments(dice, end, every):
        name = next(deck)
        seconds = dice.uniform(*REFUSAL) if name == "key refused" else dice.uniform(1.0, 6.0)
        yield Action(at, vendor, name, round(seconds, 2))


def _moments(dice: random.Random, end: float, every: float) -> Iterator[float]:
    at = dice.uniform(0.0, every)
    while at < end:
        yield round(at, 2)
        at += dice.uniform(0.4 * every, 1.6 * every)


def _dealt(dice: random.Random, cards: Sequence[T]) -> Iterator[T]:
    while True:
        yield from dice.sample(list(cards), len(cards))
