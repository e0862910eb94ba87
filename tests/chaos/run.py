"""One chaos run: the schedule is carried out under load, then all is calm, drained and checked."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from listwire import topics
from listwire.errors import SandboxError
from sandbox.kafka import EmbeddedKafka
from tests.chaos.checker import check
from tests.chaos.evidence import keep, refused_and_waiting
from tests.chaos.in_flight import InFlight
from tests.chaos.processes import BrokerMember, Member, WorkerMember, supervise
from tests.chaos.report import Report
from tests.chaos.schedule import Action, schedule
from tests.chaos.small_disk import small_disk
from tests.chaos.stage import Stage
from tests.chaos.weather import Weather
from tests.contract.commands import listwire

# An action on a process waits so long for a delivery that is under way there: longer than a group without a member stands still, or
# than a refused key is in force.
PATIENCE: Final = 30.0
SIGNALS: Final = {
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "freeze": signal.SIGSTOP,
    "freeze long": signal.SIGSTOP,
}
# A throttled lane waits 15 s, a killed worker's session 10: all of it is drained long before.
DRAINED_WITHIN: Final = 120.0
# A connection that was parked when the run ended learns from the first replayed delivery that its key is accepted again; what comes
# beside that one is refused once more.
REPLAYS: Final = 3
Say = Callable[[str], None]


async def run(seed: int, minutes: float, directory: Path, say: Say = lambda _: None, *, pace: float = 1.0) -> Report:
    report = Report(seed, minutes)
    with small_disk(directory / "kafka") as disk:
        broker = EmbeddedKafka(directory / "kafka")
        try:
            await asyncio.to_thread(broker.start)
            async with Stage.set(directory, broker) as stage:
                stage.broker.disk = disk
                await stage.begin_all()
                say(f"the stage is set in {directory}")
                await _Run(stage, report, say, schedule(seed, minutes, pace=pace)).carried_out()
        finally:
            await asyncio.to_thread(broker.stop)
    return report


class _Run:
    def __init__(self, stage: Stage, report: Report, say: Say, actions: list[Action]) -> None:
        self.stage = stage
        self.report = report
        self.say = say
        self.actions = actions
        self.weather = Weather(stage.amplitude, stage.mailchimp, report.seed)
        self.senders = stage.senders(report.seed)
        self.in_flight = InFlight(stage.under_way, self.senders, stage.port, stage.broker)
        # Of each kind one at a time is away or waited for; the kinds do not wait for each other.
        self.turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.joined = 0

    async def carried_out(self) -> None:
        posting = asyncio.ensure_future(self.senders.run())
        watching = asyncio.ensure_future(supervise([self.stage.broker, *self.stage.members.values()]))
        taken = {"amplitude": lambda: len(self.stage.amplitude.state), "mailchimp": self.stage.tag_calls_taken}
        pulse = asyncio.ensure_future(self.report.pulse.watch(taken))
        try:
            begun = time.monotonic()
            await self._actions()
            pulse.cancel()
            self.report.lasted = round(time.monotonic() - begun, 1)
            self.weather.calm()
            self.senders.enough.set()
            await self._come_to_rest(posting)
            await self._look()
        finally:
            for task in (posting, watching, pulse):
                task.cancel()
            await asyncio.gather(posting, watching, pulse, return_exceptions=True)

    async def _come_to_rest(self, posting: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(DRAINED_WITHIN):
                await posting
                await self._healthy()
        except TimeoutError:
            self.report.trouble = f"not healthy again within {DRAINED_WITHIN:.0f} s"
            return
        self.report.drained_after = await self.stage.drained(DRAINED_WITHIN)
        await self.stage.at_rest()

    async def _actions(self) -> None:
        begun = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        for action in self.actions:
            await asyncio.sleep(max(0.0, begun + action.at - time.monotonic()))
            self.say(str(action))
            running.add(asyncio.ensure_future(self._act(action)))
        await asyncio.gather(*running)

    async def _act(self, action: Action) -> None:
        if action.what in ("amplitude", "mailchimp"):
            self.report.faults[f"{action.what}: {action.whom}"] += 1
            await self.weather.strike(action.what, action.whom, action.seconds)
        elif action.what == "join":
            await self._join(action)
        elif action.what == "fill disk":
            await self._fill_disk(self.stage.broker, action)
        else:
            await self._hit(self._member(action.whom), action)

    def _member(self, name: str) -> Member:
        return self.stage.broker if name == "broker" else self.stage.members[name]

    async def _hit(self, member: Member, action: Action) -> None:
        async with self.turns[member.kind]:
            found = await self._under_way(member)
            async with member.busy:  # it does not suspend where something was found
                if member.code() is not None:
                    await _start(member)  # it had just ended by itself
                member.signal(SIGNALS[action.what])
                self.in_flight.release()
                self._note(member, action, found=found)
                if action.what.startswith("freeze"):
                    await asyncio.sleep(action.seconds)
                    member.thaw()
                    return
                code = await member.gone()
                if action.what == "term" and code:
                    self.report.stops[f"{member.name} ended with {code}"] += 1
                await asyncio.sleep(action.seconds)
                await _start(member, action.skew)

    def _note(self, member: Member, action: Action, *, found: bool) -> None:
        self.report.note(member.kind, action.what, in_flight=found)
        if not found:
            self.say(f"           nothing was under way at {member.name}: this {action.what} does not count")

    async def _fill_disk(self, broker: BrokerMember, action: Action) -> None:
        """Kafka ends by itself where it finds no room; with room again it is started again."""
        if broker.disk is None:
            self.report.stops["no disk of its own could be mounted for Kafka, so none was filled"] += 1
            return
        async with self.turns[broker.kind]:
            found = await self._under_way(broker)
            async with broker.busy:
                self._note(broker, action, found=found)
                await asyncio.to_thread(broker.disk.fill)
                await asyncio.sleep(action.seconds)
                await asyncio.to_thread(broker.disk.empty)
                if (code := broker.code()) is not None:
                    broker.ended[code] += 1
                    await _start(broker)

    async def _under_way(self, member: Member) -> bool:
        """Waits for it; False where none came. Nothing happens between its last look and its return."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if not member.busy.locked() and member.code() is None and await self.in_flight.at(member):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _join(self, action: Action) -> None:
        """One more worker comes, and goes again; the others of its kind are killed meanwhile."""
        self.joined += 1
        member = WorkerMember(f"{action.whom}-more-{self.joined}", action.whom, self.stage.config)
        await member.start()
        try:
            await asyncio.sleep(action.seconds)
            self.report.note(member.kind, "join", in_flight=await self.in_flight.at(member))
        finally:
            code = await member.stop()
            if code:
                self.report.stops[f"{member.kind} (joined) ended with {code}"] += 1

    async def _healthy(self) -> None:
        """Every process runs and has what it needs."""
        for member in [self.stage.broker, *self.stage.members.values()]:
            while member.code() is not None or member.busy.locked():
                await asyncio.sleep(0.2)
            while isinstance(member, WorkerMember) and (await member.worker.get("/readyz"))[0] != 200:
                await asyncio.sleep(0.2)

    async def _look(self) -> None:
        report, senders = self.report, self.senders
        evidence = await self.stage.evidence(webhooks=senders.webhooks, changes=senders.changes)
        report.letters = Counter(dict(letter.headers).get(topics.REASON, b"?").decode() for letter in evidence.letters)
        report.findings = check(evidence)
        for _ in range(REPLAYS):
            if not (report.kept and refused_and_waiting(evidence)):
                break
            await self._replay()
            evidence = await self.stage.evidence(webhooks=senders.webhooks, changes=senders.changes)
            report.findings = check(evidence)
        if waiting := refused_and_waiting(evidence):
            report.trouble = report.trouble or f"{waiting} letters of a refused key wait after {REPLAYS} replays"
        if report.findings.broken:
            keep(evidence, self.stage.directory)
        report.requests, report.answered = senders.requests, senders.answered
        report.absorbed = self.stage.amplitude.state.duplicates
        everybody = [self.stage.broker, *self.stage.members.values()]
        report.ended = {f"{m.name} with {code}": count for m in everybody for code, count in m.ended.items()}

    async def _replay(self) -> None:
        """What was parked while a key was refused goes out at last, as an operator would have it."""
        words = ("dead-letters", "replay", "--reason", "connection_refused", "--yes")
        done = await asyncio.to_thread(
            listwire, "--config", self.stage.config, *words, cwd=self.stage.directory, timeout=DRAINED_WITHIN
        )
        if done.code:
            self.report.trouble = f"the replay ended with {done.code}: {done.all[-1000:]}"
            return
        self.report.replayed = True
        self.report.drained_after = await self.stage.drained(DRAINED_WITHIN)
        await self.stage.at_rest()


async def _start(member: Member, skew: float = 0.0) -> None:
    with contextlib.suppress(SandboxError):  # the supervisor tries again
        await member.start(skew)
