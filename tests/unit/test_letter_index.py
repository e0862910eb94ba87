"""Which letters wait: opened by letters, closed by marks, and by nothing else."""

from __future__ import annotations

import pytest

from listwire.kafka_reader import Record
from listwire.letter_box import CHUNK, CHUNK_BYTES, chunks
from listwire.letter_index import Entry, Heap, Index, heaps, named
from tests.unit.letters import letter, mark_of, record_of


def test_a_letter_waits_until_its_mark() -> None:
    index = Index(keep_done=True)
    made = letter(headers=(("source", b"newsletter"), ("received_at", b"1234")))
    index.add(record_of(made, 3, 5))
    entry = index.open[made.id]
    assert (entry.places, entry.received_at, entry.done) == ([(3, 5)], 1234, False)
    index.add(mark_of(made.id, 3, 9))
    assert index.open == {}
    assert index.done[made.id].done
    assert index.done[made.id].places == [(3, 5)]


def test_a_letter_that_failed_again_after_its_replay_waits_again() -> None:
    index = Index()
    made = letter()
    for record in (record_of(made, 0, 0), mark_of(made.id, 0, 1), record_of(made, 0, 2)):
        index.add(record)
    assert index.open[made.id].places == [(0, 2)]


def test_letters_of_one_origin_with_other_values_or_connections_are_other_letters() -> None:
    index = Index()
    several = [letter(), letter(value=b"other"), letter(connection="sources.daily")]
    for offset, made in enumerate(several):
        index.add(record_of(made, 0, offset))
    index.add(mark_of(several[0].id, 0, 3))
    assert set(index.open) == {several[1].id, several[2].id}


def test_a_letter_written_twice_is_one_and_needs_a_mark_in_each_partition() -> None:
    index = Index()
    made = letter(key=None)
    for record in (record_of(made, 0, 0), record_of(made, 1, 0), record_of(made, 1, 1)):
        index.add(record)
    assert index.open[made.id].places == [(0, 0), (1, 0), (1, 1)]
    index.add(mark_of(made.id, 1, 2))
    assert index.open[made.id].places == [(0, 0)]
    index.add(mark_of(made.id, 0, 1))
    assert index.open == {}


def test_a_mark_speaks_only_of_what_stands_before_it_in_its_partition() -> None:
    index = Index()
    made = letter()
    index.add(mark_of(made.id, 0, 0))
    index.add(record_of(made, 0, 1))
    index.add(mark_of(made.id, 1, 7))
    assert index.open[made.id].places == [(0, 1)]


@pytest.mark.parametrize(
    "record",
    [
        Record(0, 0, 0, None, b"garbage", ()),
        Record(0, 0, 0, None, None, ()),
        Record(0, 0, 0, None, b"x", (("origin", b"listwire.webhooks/0/0"),)),
        Record(0, 0, -1, None, None, (), readable=False),
    ],
)
def test_what_is_neither_letter_nor_mark_is_counted_and_breaks_nothing(record: Record) -> None:
    index = Index()
    index.add(record)
    assert (index.open, index.unreadable) == ({}, [(0, 0)])


def test_strange_headers_of_a_letter_break_nothing() -> None:
    index = Index()
    headers = (
        ("origin", b"listwire.webhooks/0/0"),
        ("reason", b"\xfe"),
        ("failed_at", b"9" * 5000),
        ("received_at", "²".encode()),
    )
    index.add(Record(0, 0, 0, None, b"x", headers))
    (entry,) = index.open.values()
    assert (entry.failed_at, entry.received_at) == (0, 0)
    assert heaps([entry])[0].letters == 1


def test_what_kafka_has_deleted_is_forgotten() -> None:
    index = Index(keep_done=True)
    old, new, twice, done = letter(value=b"a"), letter(value=b"b"), letter(value=b"c"), letter(value=b"d")
    for record in (
        record_of(old, 0, 0), record_of(new, 0, 10), record_of(twice, 0, 1), record_of(twice, 1, 1),
        record_of(done, 0, 2), mark_of(done.id, 0, 11), Record(0, 3, 0, None, b"garbage", ()),
    ):  # fmt: skip
        index.add(record)
    index.expire({0: 5, 1: 0})
    assert set(index.open) == {new.id, twice.id}
    assert index.open[twice.id].places == [(1, 1)]
    assert (index.done, index.unreadable) == ({}, [])


def entry(number: int, *, reason: str = "too_large", size: int = 1) -> Entry:
    return Entry(f"{number:032x}", reason, "sources.a", f"listwire.webhooks/0/{number}", number, 0, size, [(0, number)])


def test_heaps_count_and_tell_first_and_last() -> None:
    entries = [entry(5), entry(9), entry(7), entry(1, reason="undecodable", size=10)]
    assert heaps(entries) == [
        Heap("too_large", "sources.a", 3, 3, 5, 9),
        Heap("undecodable", "sources.a", 1, 10, 1, 1),
    ]


def test_letters_are_named_by_origin_or_by_the_begin_of_their_id() -> None:
    one, other = letter(), letter(value=b"other")
    index = Index()
    index.add(record_of(one, 0, 0))
    index.add(record_of(other, 0, 1))
    entries = list(index.open.values())
    assert {e.id for e in named(entries, "listwire.webhooks/0/0")} == {one.id, other.id}
    assert [e.id for e in named(entries, one.id[:8].upper())] == [one.id]
    assert named(entries, one.id[:7]) == []
    assert named(entries, "") == []


def test_chunks_are_bounded_in_letters_and_bytes_and_lose_none() -> None:
    many = [entry(number) for number in range(CHUNK * 2 + 1)]
    large = [entry(number, size=CHUNK_BYTES // 2) for number in range(5)] + [entry(9, size=CHUNK_BYTES * 3)]
    for entries in (many, large):
        made = list(chunks(entries))
        assert [e for chunk in made for e in chunk] == entries
        assert all(len(chunk) <= CHUNK for chunk in made)
        assert all(len(chunk) == 1 or sum(e.size for e in chunk) <= CHUNK_BYTES for chunk in made)
    assert list(chunks([])) == []
