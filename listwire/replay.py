"""Letters back to their source topics, and marked done: both in one Kafka transaction, so that neither is ever seen alone.

The transactional id is the same for every replay: a second one that starts ends the first, and sees what that has finished.
So no letter goes back twice, whoever is killed when. Transactions are small: until one ends, workers read nothing behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import ProducerFenced, TransactionalIdAuthorizationFailed

from listwire import acls, kafka_faults, topics
from listwire.dead_letters import Letter
from listwire.errors import KafkaError
from listwire.kafka import durable_producer
from listwire.kafka_reader import Reader
from listwire.letter_box import LetterBox
from listwire.letter_index import Entry
from listwire.replay_plan import in_order
from listwire.settings.models import Kafka

TRANSACTIONAL_ID = acls.REPLAY
# A replay that was killed holds up the workers for as long.
TRANSACTION_MS = 10_000
START_WITHIN = 30.0
VISIBLE_WITHIN = 5.0


@dataclass
class Outcome:
    replayed: int = 0
    gone: int = 0
    done_before: int = 0


@asynccontextmanager
async def transactions(kafka: Kafka, name: str = TRANSACTIONAL_ID, what: str = "replay") -> AsyncIterator[Any]:
    """A producer that ends whatever another one of this transactional id had open. Its errors come out as one sentence."""
    producer = await _started(kafka, name)
    try:
        yield producer
    except ProducerFenced:
        raise KafkaError(f"Another {what} has taken over; what this one had finished stays done.") from None
    except ClientError as fault:
        if denied := kafka_faults.denied_in(fault, "Write on the topic {}", kafka.sasl_username):
            raise KafkaError(f"{denied} What was finished stays done; run it again.") from fault
        raise KafkaError(f"Kafka did not take it all: {fault}. What was finished stays done; run it again.") from fault
    finally:
        # What was committed is; a fault that a sender still meets while it ends is not one of ours any more.
        with contextlib.suppress(ClientError):
            await producer.stop()


async def _started(kafka: Kafka, name: str) -> Any:
    try:
        async with asyncio.timeout(START_WITHIN):
            return await durable_producer(kafka, transactional_id=name, transaction_timeout_ms=TRANSACTION_MS)
    except TimeoutError:
        raise KafkaError(
            f"Kafka begins no transaction within {START_WITHIN:.0f} s. Check that its topic __transaction_state has as many "
            "replicas as transaction.state.log.min.isr asks for."
        ) from None
    except KafkaError as fault:
        if isinstance(fault.__cause__, TransactionalIdAuthorizationFailed):
            raise KafkaError(
                f"Kafka refuses transactions to this user: allow it Write and Describe on the transactional id {name}."
            ) from None
        raise


async def replay(
    kafka: Kafka,
    box: LetterBox,
    entries: Iterable[Entry],
    *,
    force: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Replays the entries that are still open, oldest first. `progress` is told how many more are settled."""
    wanted = list(entries)
    outcome = Outcome()
    written: list[Any] = []
    async with transactions(kafka) as producer:
        index = await box.refresh()
        still = [index.open[entry.id] for entry in wanted if entry.id in index.open]
        outcome.done_before = len(wanted) - len(still)
        progress(outcome.done_before)
        partitions = {topic: await producer.partitions_for(topic) for topic in topics.GROUPS.values()}
        async for pairs in box.letters(in_order(still)):
            found = [(entry, letter) for entry, letter in pairs if letter is not None]
            async with producer.transaction():
                acks = []
                for entry, letter in found:
                    acks.append(await _again(producer, letter, partitions, force=force))
                    acks += [await mark(producer, entry.id, partition) for partition in {p for p, _ in entry.places}]
                written = await taken(acks)
            outcome.replayed += len(found)
            outcome.gone += len(pairs) - len(found)
            progress(len(pairs))
    await visible(box.reader, written)
    return outcome


async def taken(acks: Sequence[Awaitable[Any]]) -> list[Any]:
    """Of several faults the one that names its cause: where one partition is refused, the others' say only that it failed."""
    results = await asyncio.gather(*acks, return_exceptions=True)
    faults = [result for result in results if isinstance(result, BaseException)]
    if faults:
        raise min(faults, key=lambda fault: not isinstance(fault, kafka_faults.DENIED))
    return results


async def visible(reader: Reader, written: Iterable[Any]) -> None:
    """Waits until committed reads see these records (RecordMetadata): Kafka answers a commit before it has told every
    partition. Somebody else's open transaction may hold up the sight of ours; then it is not waited for.
    """
    ends: dict[str, dict[int, int]] = defaultdict(dict)
    for each in written:
        ends[each.topic][each.partition] = max(each.offset, ends[each.topic].get(each.partition, -1))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(VISIBLE_WITHIN):
            for topic, offsets in ends.items():
                # Kafka tells nobody when it is done with a transaction; it can only be asked.
                while any(  # noqa: ASYNC110
                    b.end <= offsets[p] for p, b in (await reader.bounds(topic, list(offsets))).items()
                ):
                    await asyncio.sleep(0.02)


async def _again(producer: Any, letter: Letter, partitions: dict[str, set[int]], *, force: bool) -> Any:
    """To the partition it came from: producers choose partitions in more than one way, and the worker compares it with
    what came later there.
    """
    topic, partition, _offset = letter.position
    where = partition if partition in partitions[topic] else None
    return await producer.send(
        topic, letter.value, key=letter.key, partition=where, headers=headers(letter, force=force)
    )


def headers(letter: Letter, *, force: bool = False) -> list[tuple[str, bytes]]:
    """What the record carries when it comes again."""
    made = list(letter.source_headers)
    kind, _, name = letter.connection.partition(".")
    if kind == "cohort_syncs" and name not in {"", "?"}:
        made = [*((key, value) for key, value in made if key != topics.SYNC), (topics.SYNC, name.encode())]
    made.append((topics.REPLAY_OF, letter.origin.encode()))
    if force and letter.topic == topics.COHORT_CHANGES:
        made.append((topics.REPLAY_FORCE, b"1"))
    return made


async def mark(producer: Any, identity: str, partition: int) -> Any:
    """The letter of that identity is done; in its own partition, so that order tells which letters it speaks of."""
    return await producer.send(
        topics.DEAD_LETTERS,
        None,
        key=identity.encode(),
        partition=partition,
        headers=[(topics.REPLAYED, identity.encode())],
    )
