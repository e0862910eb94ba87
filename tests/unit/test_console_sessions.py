"""Tokens, sessions and the brake on guessing; time is moved by hand."""

from __future__ import annotations

import hmac
from unittest import mock

import pytest

from console import sessions
from console.sessions import MOST_ADDRESSES, MOST_SESSIONS, SECONDS_A_TRY, TRIES, Brake, Doorkeeper, same
from listwire.clock import SystemClock


class Time(SystemClock):
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def door(clock: Time) -> Doorkeeper:
    return Doorkeeper("the-right-token", clock)


def test_only_the_token_opens(door: Doorkeeper) -> None:
    assert door.open_by_token("the-right-token") is not None
    for wrong in ("", "the-right-toke", "the-right-token ", "THE-RIGHT-TOKEN", "ä\udcff"):
        assert door.open_by_token(wrong) is None


def test_secrets_are_compared_by_digests_of_one_length_in_constant_time() -> None:
    with mock.patch.object(sessions.hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
        assert not same("a", "a much longer text")
        assert same("a", "a")
    assert compare.call_count == 2
    for call in compare.call_args_list:
        assert [len(argument) for argument in call.args] == [32, 32]


def test_a_session_is_found_by_its_id_until_it_is_closed(door: Doorkeeper) -> None:
    session = door.open_by_token("the-right-token")
    assert session is not None
    assert door.session(session.id) is session
    assert door.session(session.id[:-1]) is None
    assert door.session("") is None
    door.close(session.id)
    assert door.session(session.id) is None


def test_sessions_and_their_csrf_tokens_differ(door: Doorkeeper) -> None:
    opened = [door.open_by_token("the-right-token") for _ in range(5)]
    assert len({session.id for session in opened if session} | {session.csrf for session in opened if session}) == 10


def test_a_session_ends_by_itself(door: Doorkeeper, clock: Time) -> None:
    session = door.open_by_token("the-right-token")
    assert session is not None
    clock.now += sessions.SESSION_SECONDS - 1
    assert door.session(session.id) is not None
    clock.now += 2
    assert door.session(session.id) is None


def test_no_more_sessions_are_kept_than_fit(door: Doorkeeper) -> None:
    first = door.open_by_token("the-right-token")
    assert first is not None
    for _ in range(MOST_SESSIONS):
        door.open_by_token("the-right-token")
    assert door.session(first.id) is None


def test_the_printed_address_opens_once(door: Doorkeeper) -> None:
    word = door.new_link()
    assert door.open_by_link(word + "x") is None
    assert door.open_by_link(word) is not None
    assert door.open_by_link(word) is None


def test_the_printed_address_does_not_open_for_ever(door: Doorkeeper, clock: Time) -> None:
    word = door.new_link()
    clock.now += sessions.LINK_SECONDS + 1
    assert door.open_by_link(word) is None


def test_without_a_printed_address_no_word_opens(door: Doorkeeper) -> None:
    assert door.open_by_link("") is None


def test_a_login_form_comes_back_within_its_time_or_not_at_all(door: Doorkeeper, clock: Time) -> None:
    token = door.form_token()
    assert door.is_form_token(token)
    clock.now += sessions.FORM_SECONDS + 1
    assert not door.is_form_token(token)


@pytest.mark.parametrize("forged", ["", ".", "1000.", "1000.0", "nan.x", "9" * 40 + ".x", "²000.x"])
def test_a_forged_login_form_is_seen(door: Doorkeeper, forged: str) -> None:
    assert not door.is_form_token(forged)
    assert not Doorkeeper("another", SystemClock()).is_form_token(door.form_token())


def test_guessing_is_slowed_down_and_time_heals(clock: Time) -> None:
    brake = Brake(clock)
    for _ in range(TRIES):
        assert brake.wait("192.0.2.1") == 0
        brake.failed("192.0.2.1")
    assert brake.wait("192.0.2.1") > 0
    assert brake.wait("192.0.2.2") == 0
    clock.now += SECONDS_A_TRY
    assert brake.wait("192.0.2.1") == 0


def test_the_brake_remembers_only_so_many_addresses(clock: Time) -> None:
    brake = Brake(clock)
    for number in range(MOST_ADDRESSES + 50):
        brake.failed(f"address {number}")
    assert len(brake._spent) == MOST_ADDRESSES
