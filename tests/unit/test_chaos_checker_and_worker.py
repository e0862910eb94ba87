"""The chaos run's checker beside the real courier: words about one address, in all deliveries they may come in, with a key that is
refused for some of them. The checker must allow how it ends, each time; and after the replay only the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise, product
from typing import Final

import pytest

from tests.chaos.checker import allowed
from tests.cohort_stage import Record, Stage, change, replay
from tests.mailchimp_in_memory import Call, Trouble, problem
from tests.virtual_time import run

ANN: Final = "ann@example.com"
REFUSED: Final = problem("APIKeyInvalid")
# Mailchimp's answer to the calls of a delivery. What is done and answered like that no vendor owes us, but a proxy in between may.
WEATHERS: Final[dict[str, Trouble | None]] = {
    "fine": None,
    "refused": REFUSED,
    "done and refused": replace(REFUSED, done=True),
}


def deliveries(records: Sequence[Record]) -> Iterator[list[Sequence[Record]]]:
    """Every way to take them in order."""
    for amount in range(len(records)):
        for cuts in combinations(range(1, len(records)), amount):
            edges = (0, *cuts, len(records))
            yield [records[begin:end] for begin, end in pairwise(edges)]


@pytest.mark.parametrize("said", list(product([True, False], repeat=3)), ids=str)
def test_what_the_worker_ends_in_the_checker_allows(said: Sequence[bool]) -> None:
    records = [change(offset, ANN, entered=entered) for offset, entered in enumerate(said)]
    superseded = 0
    for parts in deliveries(records):
        for weathers in product(WEATHERS, repeat=len(parts)):
            superseded += run(one(said, records, parts, weathers))
    assert superseded > 0, "no word was left out for a newer one that was parked: nothing is shown"


async def one(
    said: Sequence[bool], records: list[Record], parts: list[Sequence[Record]], weathers: Sequence[str]
) -> bool:
    """Whether a word was left out for one that became a dead letter."""
    stage = Stage([ANN], partition=list(records))
    for part, weather in zip(parts, weathers, strict=True):
        stage.mailchimp.trouble = partial(of, weather)
        await stage.clock.sleep(600)  # a probe is due
        assert await stage.deliver(*part)
    dead = {int(letter.headers["origin"].rpartition("/")[2]) for letter in stage.letters}
    words = [(entered, offset in dead) for offset, entered in enumerate(said)]
    found = ANN in stage.mailchimp.tagged()
    assert found in allowed(words), (parts, weathers, words)

    stage.mailchimp.trouble = lambda _: None
    left_out = any(len(part) > 1 and part[-1].offset in dead for part in parts)
    for offset in sorted(dead):
        again = replay(len(stage.partition), offset, ANN, entered=said[offset])
        stage.partition.append(again)
        await stage.clock.sleep(600)
        assert await stage.deliver(again)
    assert (ANN in stage.mailchimp.tagged()) == said[-1], (parts, weathers, words)
    return left_out


def of(weather: str, call: Call) -> Trouble | None:
    """The tag is there; only what is said of people is refused after it was done."""
    return None if weather == "done and refused" and call.name != "segment" else WEATHERS[weather]
