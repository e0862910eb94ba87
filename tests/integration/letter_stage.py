"""Dead letters on a broker, and the commands that look at them and replay them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from listwire.dead_letters import Letter
from listwire.kafka_reader import Reader
from listwire.letter_box import LetterBox
from listwire.records import Reason
from tests.contract.commands import Ran, listwire, listwire_here
from tests.integration import operations
from tests.unit.letters import NOW, letter

MS = int(NOW * 1000)


async def run(config: Path, *arguments: str) -> Ran:
    return await asyncio.to_thread(listwire_here, "--config", config, "dead-letters", *arguments, cwd=config.parent)


async def run_apart(config: Path, *arguments: str) -> Ran:
    """In a process of its own."""
    ran = await asyncio.to_thread(listwire, "--config", config, "dead-letters", *arguments, cwd=config.parent)
    assert "Traceback" not in ran.all, ran.all
    return ran


async def waiting(config: Path) -> int:
    async with Reader(operations.settings_of(config).kafka) as reader:
        return len((await LetterBox(reader).refresh()).open)


def webhooks(count: int, *, partition: int = 0, first: int = 0, key: bytes = b"newsletter:1") -> list[Letter]:
    return [
        letter(
            f"listwire.webhooks/{partition}/{first + n}",
            b"data%%5Bemail%%5D=jane%d%%40x.org" % n,
            key=key,
            failed_at=MS + n,
        )
        for n in range(count)
    ]


def change(offset: int = 0, *people: str) -> Letter:
    users = [{"user_id": who} for who in people or ("jane@x.org",)]
    value = json.dumps({"cohort_id": "c1", "cohort_name": "C", "in_cohort": True, "users": users}).encode()
    return letter(
        f"listwire.cohort-changes/1/{offset}", value, connection="cohort_syncs.daily", key=b"c1", failed_at=MS,
        headers=(("received_at", b"1"),), reason=Reason.REJECTED_BY_MAILCHIMP,
    )  # fmt: skip
