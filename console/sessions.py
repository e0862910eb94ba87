"""Who may look: the token, sessions, and the brake on guessing. Held in memory only, bounded, by an injected clock.

A session is an opaque random id; its cookie says nothing. Comparisons take the same time whatever is compared.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from listwire.clock import Clock

SESSION_SECONDS = 12 * 3600.0
MOST_SESSIONS = 200
# So many wrong tokens at once from one address, then one in so many seconds.
TRIES = 5
SECONDS_A_TRY = 12.0
MOST_ADDRESSES = 1000
# Within which a login form must come back.
FORM_SECONDS = 3600.0
# Within which somebody must be back from Mailchimp's login.
AWAY_SECONDS = 600.0
# Within which the address printed at the start may be opened.
LINK_SECONDS = 900.0


@dataclass
class Session:
    id: str
    began: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    away: Away | None = None


@dataclass(frozen=True)
class Away:
    """A person of this session is at Mailchimp's login: the word that must come back with them, once, until `until`."""

    state: str
    until: float


def same(one: str, other: str) -> bool:
    """Constant time, whatever the lengths."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other)]
    return hmac.compare_digest(*digests)


class Brake:
    """Slows down who enters wrong tokens. A right one is refused too while it holds, so that it tells nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0: now."""
        return max(0.0, (self._level(address) + 1 - TRIES) * SECONDS_A_TRY)

    def failed(self, address: str) -> None:
        self._spent[address] = (self._level(address) + 1, self.clock.monotonic())
        self._spent.move_to_end(address)
        while len(self._spent) > MOST_ADDRESSES:
            self._spent.popitem(last=False)

    def _level(self, address: str) -> float:
        level, at = self._spent.get(address, (0.0, 0.0))
        return max(0.0, level - (self.clock.monotonic() - at) / SECONDS_A_TRY)


class Doorkeeper:
    """`token` is what a person enters. `link` is a word that opens the door once, for the address printed at the start."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token = token
        self.clock = clock
        self.brake = Brake(clock)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._key = secrets.token_bytes(32)
        self._link: tuple[str, float] | None = None

    def new_link(self) -> str:
        word = secrets.token_urlsafe(24)
        self._link = (word, self.clock.monotonic() + LINK_SECONDS)
        return word

    def open_by_link(self, word: str) -> Session | None:
        link = self._link
        if link is None or not same(word, link[0]) or self.clock.monotonic() > link[1]:
            return None
        self._link = None
        return self._open()

    def open_by_token(self, token: str) -> Session | None:
        return self._open() if same(token, self._token) else None

    def _open(self) -> Session:
        session = Session(secrets.token_urlsafe(32), self.clock.monotonic())
        self._sessions[_digest(session.id)] = session
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def session(self, id_: str) -> Session | None:
        """The live session of that id. Found by a digest, so that looking it up tells nothing about it."""
        key = _digest(id_)
        session = self._sessions.get(key)
        if session is None:
            return None
        if self.clock.monotonic() - session.began > SESSION_SECONDS:
            del self._sessions[key]
            return None
        return session

    def send_away(self, session: Session) -> str:
        """A state for an OAuth login. The newest counts."""
        session.away = Away(secrets.token_urlsafe(32), self.clock.monotonic() + AWAY_SECONDS)
        return session.away.state

    def is_back(self, session: Session, state: str) -> bool:
        """Whether this session was sent away with that state: true once. A wrong one does not use it up, or anybody could."""
        away = session.away
        right = same(state, away.state if away is not None else "")
        if away is None or not right or self.clock.monotonic() > away.until:
            return False
        session.away = None
        return True

    def close(self, id_: str) -> None:
        self._sessions.pop(_digest(id_), None)

    def form_token(self) -> str:
        """For the login form, which nobody has a session for yet."""
        at = f"{self.clock.monotonic():.0f}"
        return f"{at}.{self._sign(at)}"

    def is_form_token(self, token: str) -> bool:
        at, _, signature = token.partition(".")
        if not (at.isascii() and at.isdigit() and len(at) < 15) or not same(signature, self._sign(at)):
            return False
        return self.clock.monotonic() - float(at) <= FORM_SECONDS

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _digest(id_: str) -> str:
    return hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()
