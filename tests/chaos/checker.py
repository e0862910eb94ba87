"""Whether the promise was kept, from the evidence alone. Pure; finds, never mends, and asks Listwire nothing but its counters.

The promise: what was answered 2xx is delivered, filtered on purpose or in dead letters; within a contact nothing that is new to
Amplitude overtakes; a repetition counts once; a tag ends as the last words about each address say; what is received is settled.
Dead letters leave the line, so they are excepted where order is looked at. One that was replayed excuses nothing any more: then
its event must be at Amplitude, and its word must stand unless something later was said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from listwire import topics
from listwire.kafka_reader import Record
from tests.chaos.evidence import Change, Evidence, Hook, Place, change, hook, letters_of, origin, replays

OUTCOMES = ("delivered", "filtered", "dead_lettered", "returned", "in_flight")


@dataclass
class Findings:
    """Sentences, one a broken promise; and counts of what was right."""

    never_stored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    counted_twice: list[str] = field(default_factory=list)
    wrong_tags: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> dict[str, list[str]]:
        """The promises that were not kept, with what shows it."""
        return {name: found for name, found in vars(self).items() if name != "counts" and found}


def check(evidence: Evidence) -> Findings:
    findings = Findings(leaked=list(evidence.leaks))
    _webhooks(evidence, findings)
    _changes(evidence, findings)
    findings.invented += _strange_letters(evidence)
    findings.unbalanced += _unbalanced(evidence)
    for (group, partition), (committed, end) in sorted(evidence.committed.items()):
        if committed != end:
            findings.behind.append(f"{group} has committed {committed} of {end} in partition {partition}")
    return findings


# Mailchimp → Amplitude ------------------------------------------------------------------------------------------------


def _webhooks(evidence: Evidence, findings: Findings) -> None:
    read: dict[bytes, Hook] = {}
    stored: dict[Place, bytes] = {}
    for record in evidence.webhook_records:
        body = record.value or b""
        stored[record.partition, record.offset] = body
        if body not in read:
            read[body] = hook(body, evidence.audience)
    letters, open_letters = letters_of(evidence.letters)
    buried = {stored[place] for place in _buried(open_letters, topics.WEBHOOKS) if place in stored}
    ever_buried = {stored[place] for place in _buried(letters, topics.WEBHOOKS) if place in stored}
    arrived = _arrivals(evidence, findings)
    for body, each in read.items():
        findings.counts[f"webhooks {each.fate}"] += 1
        settled = body in buried or (each.fate == "filtered") or each.insert_id in arrived
        if not settled:
            findings.lost.append(f"webhook {_short(body)} is neither delivered nor a dead letter")
    for contact, bodies in evidence.webhooks.items():
        findings.counts["webhooks answered"] += len(bodies)
        for body in bodies:
            if body not in read:
                findings.never_stored.append(f"webhook {_short(body)} was answered 2xx and is not in Kafka")
        in_line = [read[body].insert_id for body in bodies if body in read and body not in ever_buried]
        findings.out_of_order += _overtaken(contact, [each for each in in_line if each], arrived)
    known = {each.insert_id for each in read.values() if each.fate == "event"}
    findings.invented += [
        f"Amplitude has event {each}, which no webhook asked for" for each in arrived if each not in known
    ]


def _arrivals(evidence: Evidence, findings: Findings) -> dict[str, int]:
    """The place of each insert_id's first acceptance. The journal holds what counted, so nothing may stand there twice."""
    arrived: dict[str, int] = {}
    for at, entry in enumerate(evidence.amplitude):
        if entry.insert_id is None:
            findings.invented.append(f"Amplitude has an event of {entry.user_id} without an insert_id")
        elif entry.insert_id in arrived:
            findings.counted_twice.append(f"event {entry.insert_id} of {entry.user_id} counted again")
        else:
            arrived[entry.insert_id] = at
    findings.counts["events delivered"] = len(arrived)
    return arrived


def _overtaken(contact: object, ids: list[str], arrived: dict[str, int]) -> Iterator[str]:
    last, last_id = -1, ""
    for each in ids:
        at = arrived.get(each)
        if at is None:
            continue  # lost, which is said elsewhere
        if at < last:
            yield f"contact {contact}: {each[:12]} arrived at {at}, before {last_id[:12]} at {last}, which was sent earlier"
        last, last_id = max((last, last_id), (at, each))


# Amplitude → Mailchimp ------------------------------------------------------------------------------------------------


def _changes(evidence: Evidence, findings: Findings) -> None:
    read: dict[bytes, Change] = {}
    # Tag and address → what was said of it, oldest first: did it enter, and is that word a dead letter.
    said: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    dead = _dead_words(evidence)
    said_first = [record for record in evidence.change_records if not replays(record)]
    for record in sorted(said_first, key=lambda record: (record.partition, record.offset)):
        body = record.value or b""
        if body not in read:
            read[body] = change(body)
        each = read[body]
        place = record.partition, record.offset
        buried = dead.get(place, set())
        for address in each.addresses:
            said[each.tag, address].append((each.entered, address in buried))
        findings.lost += [
            f"user {who} of {_short(body)} has no address and is no dead letter" for who in each.unusable - buried
        ]
    for bodies in evidence.changes.values():
        findings.counts["changes answered"] += len(bodies)
        for body in bodies:
            if body not in read:
                findings.never_stored.append(f"change {_short(body)} was answered 2xx and is not in Kafka")
    _tags(evidence, said, findings)


def _tags(evidence: Evidence, said: dict[tuple[str, str], list[tuple[bool, bool]]], findings: Findings) -> None:
    carried: dict[str, set[str]] = defaultdict(set)
    for tag_change in evidence.mailchimp:
        carriers = carried[tag_change.tag.casefold()]
        carriers.update(tag_change.added)
        carriers.difference_update(tag_change.removed)
    members = set(evidence.members)
    for (tag, address), words in said.items():
        findings.counts["words"] += len(words)
        if address not in members:
            continue
        findings.counts["last words in dead letters"] += words[-1][1]
        is_so = address in carried[tag]
        if is_so not in allowed(words):
            last = "entered" if words[-1][0] else "left"
            findings.wrong_tags.append(
                f"{address} {'carries' if is_so else 'does not carry'} {tag!r}; the last word of {len(words)}: {last}"
            )
    for tag, carriers in carried.items():
        findings.invented += [f"{each} carries {tag!r}; nobody said so" for each in carriers if (tag, each) not in said]
        findings.counts["tagged"] += len(carriers)


def allowed(words: Sequence[tuple[bool, bool]]) -> set[bool]:
    """How it may end: as the last word says. Where that became a dead letter, it may have been carried out before or not; and the
    words before it may have been left out for its sake, since within a delivery only the last one is sent. Its replay settles it.
    """
    last, buried = words[-1]
    return {last} if not buried else {False, *(entered for entered, _ in words)}


def _dead_words(evidence: Evidence) -> dict[Place, set[str]]:
    """Addresses, and ids of users without one, by the place of the change that spoke of them."""
    found: dict[Place, set[str]] = defaultdict(set)
    for letter in letters_of(evidence.letters)[1]:
        where = origin(letter)
        if where is not None and where[0] == topics.COHORT_CHANGES:
            part = change(letter.value or b"")
            found[where[1], where[2]] |= part.addresses | part.unusable
    return found


# Both -----------------------------------------------------------------------------------------------------------------


def _buried(letters: Sequence[Record], topic: str) -> set[Place]:
    found = {origin(letter) for letter in letters}
    return {(each[1], each[2]) for each in found if each is not None and each[0] == topic}


def _strange_letters(evidence: Evidence) -> Iterator[str]:
    """A letter is of a record that is there: the same bytes, or of a change only some users."""
    webhooks = {(record.partition, record.offset): record.value for record in evidence.webhook_records}
    changes = {(record.partition, record.offset): record.value for record in evidence.change_records}
    for letter in letters_of(evidence.letters)[0]:
        where = origin(letter)
        reason = dict(letter.headers).get(topics.REASON, b"?").decode()
        if where is None:
            yield f"dead letter {letter.partition}/{letter.offset} ({reason}) names no origin"
            continue
        place = where[1], where[2]
        if where[0] == topics.WEBHOOKS:
            right = webhooks.get(place) == letter.value
        else:
            right = place in changes and _part(change(letter.value or b""), change(changes[place] or b""))
        if not right:
            yield f"dead letter {letter.partition}/{letter.offset} ({reason}) is not what stands at {where}"


def _part(some: Change, whole: Change) -> bool:
    return (
        (some.tag, some.entered) == (whole.tag, whole.entered)
        and some.addresses <= whole.addresses
        and some.unusable <= whole.unusable
    )


def _unbalanced(evidence: Evidence) -> Iterator[str]:
    for process, connections in evidence.accounts.items():
        for connection, counted in connections.items():
            settled = sum(counted.get(outcome, 0) for outcome in OUTCOMES)
            if counted.get("received", 0) != settled:
                yield f"{process}: {connection} received {counted.get('received', 0):.0f}, and {settled:.0f} are accounted for"
            if counted.get("in_flight", 0):
                yield f"{process}: {connection} still has {counted['in_flight']:.0f} in flight"


def _short(body: bytes) -> str:
    return body[:160].decode(errors="replace")
