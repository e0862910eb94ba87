"""The invariant, attacked: an offset is committed only when every record up to it is delivered, filtered on purpose, or durably
in dead letters; and no contact's event overtakes an earlier one.

A model of Kafka (two partitions with holes, fetches, commits, rebalances, crashes) drives the real lanes, delivery, courier and
retry loop, while Amplitude accepts, fails, times out or never answers, in any order that Hypothesis can think of. Deliberately
broken lanes at the end prove that the model would notice.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from listwire.errors import VendorUnavailable
from stream.lanes import Lane, Lanes, LostRun, Partition
from tests.delivery_bench import Bench, Record, event_record
from tests.virtual_time import VirtualLoop
from vendors.amplitude import Accepted, Answer, Invalid

TIMEOUT = 8.0
PARTITIONS = st.sampled_from([0, 1])
FAR = 100_000  # between the numbers of two partitions


class Bug(Exception):
    """Something of ours that must not happen."""


class Held:
    """A request that Amplitude has read and not yet answered."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Log:
    """One partition, as Kafka and the consumer's side of it know it."""

    def __init__(self, number: int) -> None:
        self.tp: Partition = ("listwire.webhooks", number)
        self.records: dict[int, Record] = {}
        self.end = 0
        self.committed: int | None = None
        self.filtered: set[int] = set()
        self.assigned = False
        self.give_away()

    def give_away(self) -> None:
        self.assigned = False
        self.position, self.first = self.committed or 0, None
        self.acked: list[int] = []
        self.swallowed = False

    first: int | None
    position: int


class Run:
    def __init__(self, log: Log, end: int) -> None:
        self.begin, self.end = log.position, end
        self.records = [log.records[o] for o in range(log.position, end) if o in log.records]
        log.first = self.begin if log.first is None else log.first
        self.first = log.first
        self.weight = 1 + len(self.records)


class Model(RuleBasedStateMachine):
    lanes_class: ClassVar[type[Lanes]] = Lanes
    abreast: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._quiet = capture_logs()
        self._quiet.__enter__()
        random.seed(0)  # the jitter of retries
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.logs = [Log(0), Log(1)]
        self.held: list[Held] = []
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.bench = Bench(max_events=4)
        self.bench.amplitude.rule = self._hold
        self.bench.amplitude.latency = 0.001
        self._start_process()

    def _start_process(self) -> None:
        self.faults: list[BaseException] = []
        self.lanes = self.lanes_class(
            "model", self.bench.deliver_records, self.faults.append, limit=6, abreast=self.abreast, grace=TIMEOUT + 4
        )

    def teardown(self) -> None:
        self.loop.run_until_complete(self._die())
        asyncio.set_event_loop(None)
        self.loop.close()
        self._quiet.__exit__(None, None, None)

    async def _hold(self, events: list[dict[str, Any]]) -> Answer:
        held = Held(events)
        self.held.append(held)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await held.answer
        except TimeoutError:
            raise VendorUnavailable("amplitude", 0, "ReadTimeout", cause="timeout") from None
        finally:
            self.held.remove(held)

    # Kafka ------------------------------------------------------------------------------------------------------------

    @rule(number=PARTITIONS, contacts=st.lists(st.integers(0, 2) | st.none(), min_size=1, max_size=6))
    def produce(self, number: int, contacts: list[int | None]) -> None:
        """None is a hole (an aborted record); contact 0 sends a type that is filtered every third time."""
        log = self.logs[number]
        for contact in contacts:
            if contact is not None:
                record = event_record(number * FAR + log.end, contact + number * 10)
                record.offset, record.partition = log.end, number
                if contact == 0 and log.end % 3 == 0 and record.value is not None:
                    record.value = record.value.replace(b"type=subscribe", b"type=profile")
                    log.filtered.add(log.end)
                log.records[log.end] = record
            log.end += 1

    @rule(number=PARTITIONS, contacts=st.lists(st.integers(0, 2) | st.none(), min_size=1, max_size=4))
    @precondition(lambda self: not self.faults)
    def arrive(self, number: int, contacts: list[int | None]) -> None:
        self.assign(number)
        self.produce(number, contacts)
        self.fetch(number, FAR)

    @rule(number=PARTITIONS, first=st.integers(1, 2), second=st.integers(1, 2))
    @precondition(lambda self: not self.faults)
    def arrive_while_one_is_under_way(self, number: int, first: int, second: int) -> None:
        for contact in (first, second):
            if not self.faults:
                self.arrive(number, [contact])
                self.time_passes(0.01)

    @rule()
    def accept_the_newest(self) -> None:
        self._answer(-1, True, Accepted())

    @rule(number=PARTITIONS)
    @precondition(lambda self: not self.faults)
    def assign(self, number: int) -> None:
        self.logs[number].assigned = True

    @rule(number=PARTITIONS, most=st.integers(1, 5))
    @precondition(lambda self: not self.faults)
    def fetch(self, number: int, most: int) -> None:
        log = self.logs[number]
        run = self._fetched(log, most)
        if run is None:
            return
        lost: LostRun | None = None
        try:
            self.lanes.put(log.tp, run, lambda: log.acked.append(run.end), log.committed)
        except LostRun as fault:
            lost = fault
            self.lanes.fail(fault)  # as the agent does
        assert log.swallowed == (lost is not None), f"lost: {log.swallowed}, said: {lost}"
        self.loop.idle()

    def _fetched(self, log: Log, most: int) -> Run | None:
        end = min(log.position + most, log.end)
        if not log.assigned or not any(o in log.records for o in range(log.position, end)):
            return None
        run = Run(log, end)
        log.position = end
        return run

    @rule(number=PARTITIONS)
    @precondition(lambda self: not self.faults)
    def swallow(self, number: int) -> None:
        """Faust loses a run between the fetch and its lane. One that had been read before does not matter."""
        log = self.logs[number]
        self.assign(number)
        self.produce(number, [1])
        lane = self.lanes.lanes.get(log.tp)
        run = self._fetched(log, 3)
        if run is not None and (lane is None or lane.next is None or run.end > lane.next):
            log.swallowed = True

    @rule(number=PARTITIONS)
    @precondition(lambda self: not self.faults)
    def seek_back(self, number: int) -> None:
        """Faust seeks to the commit where there is one; what was swallowed comes again."""
        log = self.logs[number]
        if log.committed:
            log.position = log.committed
            log.swallowed = False

    @rule(number=PARTITIONS)
    def commit(self, number: int) -> None:
        log = self.logs[number]
        if log.assigned and log.acked:
            assert log.acked == sorted(log.acked), "acknowledged out of order"
            log.committed = max(log.committed or 0, log.acked[-1])
            log.acked.clear()

    @rule(numbers=st.sets(PARTITIONS, min_size=1))
    @precondition(lambda self: not self.faults)
    def revoke(self, numbers: set[int]) -> None:
        logs = [self.logs[n] for n in numbers if self.logs[n].assigned]
        self.loop.run_until_complete(self.lanes.close([log.tp for log in logs]))
        for log in logs:
            self.commit(int(log.tp[1]))
            log.give_away()

    @rule()
    def stop(self) -> None:
        """SIGTERM, and another process begins at the commits."""
        self.loop.run_until_complete(self.lanes.close())
        self.loop.run_until_complete(self._restart())

    @rule(commit_first=st.booleans())
    def kill(self, commit_first: bool) -> None:
        """SIGKILL; or after a fault of ours, the end that it brings."""
        for log in self.logs if commit_first else []:
            self.commit(int(log.tp[1]))
        self.loop.run_until_complete(self._restart())

    async def _restart(self) -> None:
        await self._die()
        for log in self.logs:
            log.give_away()
        self._start_process()

    async def _die(self) -> None:
        lanes = self.lanes.lanes.values()
        tasks = [lane.task for lane in lanes] + [delivery.task for lane in lanes for delivery in lane.under_way]
        for lane in self.lanes.lanes.values():
            lane.closing.set()
            lane.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Amplitude --------------------------------------------------------------------------------------------------------

    def _answer(self, pick: int, taken: bool, answer: Answer | Exception | None) -> None:
        if not self.held:
            return
        held = self.held[pick % len(self.held)]
        if held.answer.done():
            return
        if taken:
            self.bench.amplitude.take(held.events)
        if isinstance(answer, Exception):
            held.answer.set_exception(answer)
        elif answer is not None:
            held.answer.set_result(answer)
        self.loop.idle()

    @rule(pick=st.integers(0, 3))
    def accept(self, pick: int) -> None:
        self._answer(pick, True, Accepted())

    @rule(pick=st.integers(0, 3), taken=st.booleans())
    def fail(self, pick: int, taken: bool) -> None:
        self._answer(pick, taken, VendorUnavailable("amplitude", 500, "error", cause="500"))

    @rule(pick=st.integers(0, 3))
    def take_and_never_answer(self, pick: int) -> None:
        self._answer(pick, True, None)

    @rule(pick=st.integers(0, 3))
    def reject_the_first(self, pick: int) -> None:
        self._answer(pick, False, Invalid({0: "bad"}))

    @rule(pick=st.integers(0, 3))
    def bug(self, pick: int) -> None:
        self._answer(pick, False, Bug())

    @rule(seconds=st.sampled_from([0.01, 0.5, 5.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    # What must hold ---------------------------------------------------------------------------------------------------

    def _settled(self, log: Log) -> set[int]:
        number = int(log.tp[1])
        accepted = {n - number * FAR for n in self.bench.amplitude.numbers if n // FAR == number}
        origin = f"{log.tp[0]}/{number}/".encode()
        buried = {
            int(letter["headers"]["origin"].removeprefix(origin))
            for letter in self.bench.written
            if letter["headers"]["origin"].startswith(origin)
        }
        return accepted | buried | log.filtered

    @invariant()
    def nothing_is_committed_before_it_has_settled(self) -> None:
        for log in self.logs:
            reach = max([log.committed or 0, *log.acked])
            unsettled = {o for o in log.records if o < reach} - self._settled(log)
            assert not unsettled, f"{log.tp}: acknowledged up to {reach}, not settled: {sorted(unsettled)}"

    @invariant()
    def no_event_of_a_contact_overtakes_another(self) -> None:
        for contact, numbers in self.bench.amplitude.by_contact().items():
            assert numbers == sorted(numbers), f"contact {contact} out of order: {numbers}"

    @invariant()
    def after_a_fault_nothing_more_is_acknowledged(self) -> None:
        acked = [list(log.acked) for log in self.logs]
        if self.faults:
            before = getattr(self, "_acked_at_fault", None)
            more = before is not None and any(len(now) > len(then) for now, then in zip(acked, before, strict=True))
            assert not more, "acknowledged after a fault"
            self._acked_at_fault: Any = acked
        else:
            self._acked_at_fault = None


STEPS = settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
TestInvariant = Model.TestCase
TestInvariant.settings = STEPS


class SeveralAbreast(Model):
    abreast = 3


TestInvariantWithSeveralDeliveriesAbreast = SeveralAbreast.TestCase
TestInvariantWithSeveralDeliveriesAbreast.settings = STEPS


# Lanes that are wrong on purpose --------------------------------------------------------------------------------------


class AcknowledgesFirst(Lane):
    def _take(self) -> Any:
        records, weight, acks, keys = super()._take()
        for ack in acks:
            ack()
        return records, weight, [], keys


class IgnoresClosing(Lane):
    """Acknowledges although the delivery has said that not all of it settled."""

    def _take(self) -> Any:
        self.lanes.deliver = self._shrug
        return super()._take()

    async def _shrug(self, records: Any, closing: asyncio.Event) -> bool:
        deliver: Any = self.lanes.on_deliver  # type: ignore[attr-defined]
        await deliver(records, closing)
        return True


class TrustsFaust(Lane):
    """Without the check that a run begins where the last one ended."""

    def put(self, run: Any, ack: Any) -> None:
        if self.next is not None and run.begin > self.next:
            self.next = run.begin
        super().put(run, ack)


class TakesAnyFirstRun(Lane):
    """A gap before the first run is taken for records that Kafka has deleted."""

    def put(self, run: Any, ack: Any) -> None:
        if self.next is None:
            run.first = run.begin
        super().put(run, ack)


class ForgetsKeys(Lane):
    """Begins another delivery of a key while one of it is under way."""

    def put(self, run: Any, ack: Any) -> None:
        super().put(run, ack)
        if self.waiting:
            records, weight, its_ack, _ = self.waiting.pop()
            self.waiting.append((records, weight, its_ack, frozenset()))


class AcknowledgesAsTheySettle(Lane):
    """Deliveries abreast are acknowledged in the order in which they end."""

    def _goes_on(self) -> bool:
        self.under_way = deque(sorted(self.under_way, key=lambda delivery: not delivery.task.done()))
        return super()._goes_on()


def broken(lane: type[Lane]) -> type[Model]:
    class Wrong(Lanes):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.on_deliver = self.deliver

        def put(self, partition: Partition, run: Any, ack: Any, committed: int | None) -> None:
            if not self.failed and not self.ended and partition not in self.lanes:
                self.lanes[partition] = lane(partition, committed, self)
            super().put(partition, run, ack, committed)

    class BrokenModel(Model):
        lanes_class = Wrong
        abreast = 3

    return BrokenModel


@pytest.mark.parametrize(
    ("lane", "words"),
    [
        (AcknowledgesFirst, "not settled"),
        (IgnoresClosing, "not settled"),
        (TrustsFaust, "lost: True"),
        (TakesAnyFirstRun, "lost: True"),
        (ForgetsKeys, "out of order"),
        (AcknowledgesAsTheySettle, "not settled|acknowledged out of order"),
    ],
    ids=[
        "acknowledges first",
        "ignores closing",
        "trusts Faust",
        "takes any first run",
        "forgets keys",
        "as they settle",
    ],
)
def test_the_model_catches_lanes_that_are_wrong(lane: type[Lane], words: str) -> None:
    hunt = settings(STEPS, max_examples=1000, phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(broken(lane), settings=hunt)
