"""Keeps the picture up to date: Kafka first, then what workers and vendors say of themselves. Never writes, never commits.

One look after the other, in one task. A Kafka that goes away leaves the last picture standing, with the reason beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx

from console import process_metrics, worker_metrics
from console.events import Events
from console.feed import Feed
from console.picture import Picture, Refusal, summed_up
from console.quiet import Quiet
from console.waiting import Waiting
from listwire import logs
from listwire.clock import Clock, SystemClock
from listwire.control import Pauses
from listwire.errors import KafkaError
from listwire.kafka_reader import Reader
from listwire.lag_reader import LagReader
from listwire.letter_box import LetterBox
from listwire.metrics import Status
from listwire.redaction import for_settings
from listwire.settings import Settings
from listwire.settings_watch import SettingsWatch
from vendors import accounts

EVERY = 2.0
AFTER_A_FAULT = 3.0
ASK_EVERY = 60.0
# Records of the dead-letter topic that pages know: some 80 MB.
MOST_LETTERS = 100_000
# Read once, at the start.
NOT_ADOPTED = ("kafka", "console", "logs")
# What a worker writes where somebody has paused the connection: no refusal.
PAUSED = "paused by `listwire pause`"

log = logs.get("listwire.console")


class Watch:
    """`letters` is used under `letters_lock` alone: by the looks, by pages that show a letter, and by replays."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.letters_lock = asyncio.Lock()
        self.quiet = Quiet(self.clock)
        # Whoever serves the console knows whether the settings have changed on disk.
        self.freshness: SettingsWatch | None = None
        self.adopted: Callable[[Settings], None] | None = None
        self._letters: LetterBox | None = None
        self._details: dict[str, str] = {}
        self._asked_at: dict[str, float] = {}
        self._take(settings)

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self.redact = for_settings(settings)
        events = Events(settings)
        self.picture = Picture(events, Feed(events, self.clock))
        self.waiting = Waiting(events)
        self._processes = worker_metrics.addresses(settings) + process_metrics.addresses(settings)

    def adopt(self, found: Settings) -> None:
        """New settings from disk, without a restart: all of them but Kafka's, the console's own and the logs'. What pages show is
        read anew. Where those others have changed too, the console stays stale.
        """
        running = self.settings
        kept = {section: getattr(running, section) for section in NOT_ADOPTED}
        if self.adopted is not None:
            self.adopted(found)
        self._take(found.model_copy(update=kept))
        if self.freshness is not None and all(getattr(found, section) == kept[section] for section in NOT_ADOPTED):
            self.freshness.take(found)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def letters(self) -> AsyncIterator[LetterBox]:
        """The box, up to date, for one at a time. Raises KafkaError."""
        async with self.letters_lock:
            if self._letters is None:
                raise KafkaError(self.picture.fault or "Kafka is not read yet; try again in a moment.")
            await self._letters.refresh()
            yield self._letters

    async def _keep_looking(self) -> None:
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._look_until_a_fault(stack)
            except KafkaError as fault:
                if self.picture.fault is None:
                    log.warning("Kafka cannot be read", detail=str(fault))
                self.picture.fault = str(fault)
            except Exception as fault:  # a guard: pages must go on with what is known, and say why it is old
                log.exception("the console's reader failed")
                self.picture.fault = f"The console cannot read Kafka: {type(fault).__name__}; its log says more."
            finally:
                self._letters = None
            await self.clock.sleep(AFTER_A_FAULT)

    async def _look_until_a_fault(self, stack: AsyncExitStack) -> None:
        kafka = self.settings.kafka
        lags = await stack.enter_async_context(LagReader(kafka, clock=self.clock))
        reader = await stack.enter_async_context(Reader(kafka, clock=self.clock))
        box = LetterBox(await stack.enter_async_context(Reader(kafka, clock=self.clock)), most=MOST_LETTERS)
        pauses = Pauses(kafka)
        stack.push_async_callback(pauses.close)
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=worker_metrics.WITHIN, trust_env=False))
        while True:
            await self._look(lags, reader, box, pauses, client)
            await self.clock.sleep(EVERY)

    async def _look(
        self, lags: LagReader, reader: Reader, box: LetterBox, pauses: Pauses, client: httpx.AsyncClient
    ) -> None:
        picture = self.picture
        read = await lags.read()
        # After the offsets: a record that is settled by now must not look delivered where its letter is not read yet.
        async with self.letters_lock:
            await box.refresh()
            self._letters = box
        picture.take_lags(read)
        await self.waiting.look(reader, read)
        picture.oldest = self.waiting.oldest
        await picture.feed.look(reader)
        await self.quiet.look(reader)
        async with self.letters_lock:
            picture.letters = summed_up(box.index, picture.shown_origins())
            picture.letters.left_out = box.left_out
            await self._read_refusals(box)
        picture.pauses = dict(await pauses.read())
        picture.said = await worker_metrics.ask(client, self._processes)
        picture.at, picture.fault = self.clock.time(), None
        await self._ask_vendors()

    async def _read_refusals(self, box: LetterBox) -> None:
        """The newest letter of each refused connection, for the vendor's words in it."""
        wanted = self.picture.letters.refused
        missing = [entry for entry in wanted.values() if entry.id not in self._details]
        async for pairs in box.letters(missing):
            for entry, letter in pairs:
                self._details[entry.id] = "" if letter is None else self.redact(letter.detail)
        self._details = {entry.id: self._details.get(entry.id, "") for entry in wanted.values()}
        self.picture.refusals = {
            connection: Refusal(entry.failed_at / 1000, self._details[entry.id])
            for connection, entry in wanted.items()
            if not self._details[entry.id].startswith(PAUSED)
        }

    async def _ask_vendors(self) -> None:
        """A worker says that a key is refused before there is a letter with the vendor's words: then the vendor is asked."""
        picture = self.picture
        refused = [c for c in picture.events.of if picture.evidence(c).worker is Status.REFUSED]
        silent = [c for c in refused if c not in picture.refusals]
        picture.asked = {c: said for c, said in picture.asked.items() if c in silent}
        due = [c for c in silent if self.clock.monotonic() - self._asked_at.get(c, -ASK_EVERY) >= ASK_EVERY]
        if due:
            self._asked_at |= dict.fromkeys(due, self.clock.monotonic())
            found = await accounts.refused(self.settings, due)
            picture.asked |= {c: said.removeprefix("still refused, ") for c, said in found.items()}
