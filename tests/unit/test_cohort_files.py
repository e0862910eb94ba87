"""Files of users: what is read, what is refused and on which line. A row is never guessed at."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire.cohorts.members import Columns, Reading, Shape, read
from listwire.errors import ListwireError
from stream.codecs.cohort_change import User, address_of


def usable(text: str) -> str | None:
    return address_of(User(user_id=text), "user_id")


def reading(text: str | bytes, columns: Columns | None = None, shape: Shape = "auto") -> Reading:
    data = text.encode() if isinstance(text, str) else text
    return read(data, "users.csv", columns or Columns(), usable, shape)


def pairs(found: Reading) -> list[tuple[str, str | None]]:
    return [(member.address, member.user_id) for member in found.members.values()]


def faults(found: Reading) -> list[tuple[int, str]]:
    return [(row.line, row.why) for row in found.bad]


def test_a_csv_with_a_header_gives_addresses_and_ids_and_nothing_else() -> None:
    found = reading('name,email,user_id\n"Ann, the first"," Ann@Example.com ",1\nBob,bob@example.com,\n')
    assert pairs(found) == [("ann@example.com", "1"), ("bob@example.com", None)]
    assert found.bad == []


@pytest.mark.parametrize(
    "text",
    [
        "email;user_id\na@b.c;1\n",
        "email\tuser_id\r\na@b.c\t1\r\n",
        "\ufeffEMAIL,User_ID\na@b.c,1",
        "\n\n user_id , email \r1,a@b.c\r",
        '{"email":"a@b.c","user_id":1}\n',
        '{"user_id":"1","user_properties":{"email":"A@b.c","plan":"x"}}',
        '\n  {"email":"a@b.c","user_id":"1"}\n\n',
    ],
)
def test_the_usual_spellings_of_a_table_are_all_read(text: str) -> None:
    assert pairs(reading(text)) == [("a@b.c", "1")]


def test_an_address_a_line_needs_no_header() -> None:
    assert pairs(reading("a@b.c\n\n  D@E.f \n")) == [("a@b.c", None), ("d@e.f", None)]


def test_an_address_that_comes_again_counts_once_and_its_first_line_wins() -> None:
    found = reading("email,user_id\na@b.c,1\nA@B.C,2\na@b.c ,3\n")
    assert pairs(found) == [("a@b.c", "1")]
    assert found.duplicates == 2


def test_bad_rows_are_told_with_their_line_and_their_fault() -> None:
    rows = ["email,user_id", "nobody,1", "a@b.c,2", ",3", "", "b@c.d," + "x" * 1025, '"multi', 'line",4', "7@8.9,5"]
    assert faults(reading("\n".join(rows))) == [
        (2, "'nobody' is no address"),
        (4, "no value in 'email'"),
        (6, "the value in 'user_id' has 1,025 characters; an id has at most 1,024"),
        (7, "'multi\\nline' is no address"),
    ]


def test_broken_quoting_costs_its_row_and_not_the_others() -> None:
    found = reading('email,user_id\na@b.c,"1"2\nb@c.d,3\nc@d.e,"4\n')
    assert pairs(found) == [("b@c.d", "3")]
    assert [(line, why.split(":")[0]) for line, why in faults(found)] == [(2, "not CSV"), (4, "not CSV")]


def test_bad_lines_of_json_are_told_with_their_line_and_their_fault() -> None:
    lines = ['{"email":"a@b.c"}', "{", "[]", '{"email":3}', '{"email":"b@c.d","user_id":true}', '{"user_id":"1"}']
    assert [(line, why.split(":")[0]) for line, why in faults(reading("\n".join(lines)))] == [
        (2, "not JSON"),
        (3, "no JSON object"),
        (4, "'email' is no text"),
        (5, "'user_id' is neither text nor a whole number"),
        (6, "no value in 'email'"),
    ]


def test_columns_may_have_other_names() -> None:
    columns = Columns("E-Mail", "Kundennummer", needs_user_id=True)
    assert pairs(reading("kundennummer;e-mail\n7;a@b.c\n", columns)) == [("a@b.c", "7")]
    assert pairs(reading('{"E-Mail":"a@b.c","Kundennummer":7}', columns)) == [("a@b.c", "7")]
    assert faults(reading('{"E-Mail":"a@b.c"}', columns)) == [(1, "no 'Kundennummer'")]


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("name,mail\na,b@c.d\n", Columns(), "its first line, 'name,mail', names no column 'email' and is no address"),
        ("email\na@b.c\n", Columns(user_id="uid", needs_user_id=True), "there is no column 'uid'; its header has 'email'"),
        ("a@b.c\n", Columns(needs_user_id=True), "a file of addresses has no column 'user_id'; leave --id-column out"),
        ("email,Email\n", Columns(), "2 columns are named 'email'"),
        (b"email\na@b.c\n\xfc@b.c\n", Columns(), "line 3 is not UTF-8"),
        ('email\n"a@b.c', Columns("adr"), "names no column 'adr'"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_as_a_whole_is_one_sentence(text: str | bytes, columns: Columns, words: str) -> None:
    with pytest.raises(ListwireError, match=r"\Ausers\.csv: ") as told:
        reading(text, columns)
    assert words in str(told.value)


def test_a_shape_that_is_given_is_not_guessed() -> None:
    assert faults(reading("nobody\na@b.c\n", shape="lines")) == [(1, "'nobody' is no address")]
    with pytest.raises(ListwireError, match="there is no column 'email'"):
        reading("a@b.c\n", shape="csv")


@pytest.mark.parametrize("shape", ["auto", "csv", "lines", "json"])
def test_an_empty_file_holds_nobody(shape: Shape) -> None:
    assert pairs(reading(" \n\n", shape=shape)) == []
    assert pairs(reading("", shape=shape)) == []


@given(
    data=st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")), shape=st.sampled_from(["auto", "csv", "lines", "json"])
)  # fmt: skip
def test_no_file_is_more_than_one_sentence(data: bytes, shape: Shape) -> None:
    try:
        found = reading(data, shape=shape)
    except ListwireError:
        return
    assert all(usable(address) == address for address in found.members)
    assert all(1 <= row.line <= data.count(b"\n") + data.count(b"\r") + 2 for row in found.bad)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
addresses = st.builds("{}@{}.example".format, *[st.text("abcÖ09.+", min_size=1, max_size=6)] * 2)
cells = st.tuples(addresses, words, words)


@given(rows=st.lists(cells, max_size=8), delimiter=st.sampled_from(",;\t"), end=st.sampled_from(["\n", "\r\n"]))
def test_what_a_spreadsheet_writes_is_what_is_read(rows: list[Any], delimiter: str, end: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerow(["email", "user_id", "name"])
    writer.writerows(rows)
    expected: dict[str, str | None] = {}
    for address, user_id, _ in rows:
        expected.setdefault(address.lower(), user_id.strip() or None)
    found = reading(file.getvalue())
    assert dict(pairs(found)) == expected
    assert found.bad == []
    assert found.duplicates == len(rows) - len(expected)


@given(rows=st.lists(cells, max_size=8), below=st.booleans(), ascii_only=st.booleans())
def test_json_lines_say_the_same(rows: list[Any], below: bool, ascii_only: bool) -> None:
    lines = [
        {"user_id": user_id, **({"user_properties": {"email": address}} if below else {"email": address}), "name": name}
        for address, user_id, name in rows
    ]
    expected: dict[str, str | None] = {}
    for address, user_id, _ in rows:
        expected.setdefault(address.lower(), user_id.strip() or None)
    found = reading("\n".join(json.dumps(line, ensure_ascii=ascii_only) for line in lines))
    assert (dict(pairs(found)), found.bad) == (expected, [])


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_line_that_is_told_is_the_line_in_the_file(good: list[bool]) -> None:
    text = "".join(f"user{number}@example.com\n" if fine else "nobody\n" for number, fine in enumerate(good))
    told = {line for line, _ in faults(reading(text, shape="lines"))}
    assert told == {number for number, fine in enumerate(good, 1) if not fine}
    assert {line for line, _ in faults(reading("email\n" + text))} == {line + 1 for line in told}
