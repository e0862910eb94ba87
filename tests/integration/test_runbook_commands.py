"""What a runbook tells one to look at runs as it is written, on a Kafka where nothing is wrong yet something waits.

Only the ```sh blocks, which look and change nothing; what mends stands in sentences, with names to fill in.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from listwire import topics
from listwire.settings import Settings
from tests.contract.commands import listwire
from tests.integration import operations
from tests.unit.letters import letter

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).parents[2]
PUBLIC_URL = "https://hooks.example.com"
LOOKS = {
    ("lag",),
    ("check",),
    ("topics", "verify"),
    ("hooks", "ls"),
    ("dead-letters", "ls"),
    ("dead-letters", "replay"),
}


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


PAGES = {page.stem: commands(page) for page in sorted((ROOT / "docs/runbooks").glob("*.md")) if page.stem != "README"}
EVERY = sorted({tuple(command) for found in PAGES.values() for command in found})


@pytest.mark.parametrize("page", PAGES)
def test_a_runbook_has_something_to_look_at_that_changes_nothing(page: str) -> None:
    assert PAGES[page]
    for program, *arguments in PAGES[page]:
        assert program == "listwire"
        assert any(tuple(arguments[: len(look)]) == look for look in LOOKS)
        assert "replay" not in arguments or "--dry-run" in arguments


async def test_its_commands_run_as_written(settings: Settings, config: Path, tmp_path: Path) -> None:
    await operations.bury(settings, [letter(value=b"%d" % n) for n in range(2)])
    async with operations.producer(settings) as out:
        for n in range(3):
            await out.send_and_wait(topics.WEBHOOKS, b"x", partition=n)
    assert EVERY
    for _program, *arguments in EVERY:
        # 1 is an answer (something is wrong: nobody answers for the vendors here); 2 would be a command that does not exist.
        ran = listwire(*arguments, cwd=tmp_path, LISTWIRE_CONFIG=str(config), LISTWIRE_INGRESS__PUBLIC_URL=PUBLIC_URL)
        assert ran.code in {0, 1}, f"{arguments}: {ran.all}"
        assert ran.all, arguments
        assert "Traceback" not in ran.all
        assert "Usage:" not in ran.all
