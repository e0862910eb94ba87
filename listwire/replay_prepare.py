"""Which letters a replay would take, asked of Kafka and of the vendors: the same for the command and for the console's button.

Whoever calls passes `refused` (vendors.accounts has it), for nothing here knows the vendors.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection

from listwire import topics
from listwire.letter_box import LetterBox
from listwire.replay_plan import Plan, Selection, plan

# Connections in, those that are still refused out, with the reason.
Refused = Callable[[Collection[str]], Awaitable[dict[str, str]]]


async def prepared(box: LetterBox, selection: Selection, refused: Refused, *, force: bool) -> Plan:
    """Of the letters that are open in the box now. Changes nothing; raises KafkaError."""
    entries = [entry for entry in box.index.open.values() if entry in selection]
    faults = {} if force else await refused({entry.connection for entry in entries})
    begins: dict[int, int] = {}
    if any(entry.origin.startswith(topics.COHORT_CHANGES + "/") for entry in entries):
        begins = {p: bounds.begin for p, bounds in (await box.reader.bounds(topics.COHORT_CHANGES)).items()}
    return plan(entries, refused=faults, begins=begins, force=force, now=time.time())
