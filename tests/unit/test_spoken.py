"""Numbers as a person says them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire import spoken


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (-3, "0 ms"),
        (0.45, "450 ms"),
        (1, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (240, "4 min"),
        (245, "4 min"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (86400 * 3 + 3600 * 5 + 59, "3 d 5 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert spoken.duration(seconds) == words


@given(st.floats(min_value=0, max_value=1e12))
def test_every_duration_has_words(seconds: float) -> None:
    assert spoken.duration(seconds)[0].isdigit()


def test_sizes() -> None:
    assert [spoken.size(n) for n in (0, 1023, 1024, 9 * 1024**2, 3 * 1024**4)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "9.0 MiB",
        "3072.0 GiB",
    ]


def test_counts() -> None:
    assert spoken.count(1, "letter") == "1 letter"
    assert spoken.count(1204, "letter") == "1,204 letters"
    assert spoken.count(2, "entry", "entries") == "2 entries"


@given(st.integers())
def test_every_number_of_milliseconds_has_words(milliseconds: int) -> None:
    assert spoken.moment(milliseconds)


def test_moments_are_in_utc() -> None:
    assert spoken.moment(1_700_000_000_000) == "2023-11-14 22:13:20Z"
