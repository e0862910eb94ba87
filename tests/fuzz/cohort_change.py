"""What must hold of any bytes that stand in listwire.cohort-changes: the codec, and the ingress's key, against the standard library's JSON.

Where strict JSON reads the bytes, both must have found the same; where it does not, the codec may reject, or may have found
that the fault lies in a part that it passes on as it came.
"""

from __future__ import annotations

import json
from typing import Any

from ingress import keys
from listwire.records import Reason, Rejection
from stream.codecs import cohort_change
from stream.codecs.cohort_change import CohortChange, User

SYNC = b"daily"
NO_JSON = object()


def check(value: bytes) -> None:
    found = cohort_change.decode(value)
    plain = strict(value)
    key = keys.cohort_key(SYNC, value)
    assert isinstance(key, bytes)
    assert 0 < len(key) <= 1024
    if isinstance(found, Rejection):
        assert found.detail
        if plain is not NO_JSON:
            wanted = fault_of(plain)
            assert wanted is not None, f"rejected, but good: {found}"
            assert found.reason == wanted, f"rejected for {found.reason}, not {wanted}: {found.detail}"
        return
    assert isinstance(found, CohortChange), f"no outcome: {found!r}"
    assert key == (found.cohort_id.encode()[:1024] or SYNC), "the ingress and the codec disagree about the cohort"
    assert found.cohort_id.strip()
    assert found.cohort_name.strip()
    users = found.users
    assert len(users) == len(found)
    for each in users:
        _look_at(each)
    _look_at_parts(found, plain)
    if plain is not NO_JSON:
        assert fault_of(plain) is None, f"accepted, but {fault_of(plain)}"
        assert found.cohort_id == plain["cohort_id"]
        assert found.cohort_name == plain["cohort_name"]
        assert found.entered is plain["in_cohort"]
        assert len(users) == len(plain["users"])
        for ours, theirs in zip(users, plain["users"], strict=True):
            assert same(ours, user_of(theirs)), f"the codec found {ours!r} in {theirs!r}"


def strict(value: bytes) -> Any:
    """`NO_JSON` where RFC 8259 would have it so, or where the standard library gives up first."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    def no_infinity(text: str) -> float:
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise ValueError(text)
        return number

    try:
        text = value.decode("utf-8")
        found = json.loads(text, parse_constant=no_constant, parse_float=no_infinity)
        # Half a surrogate pair is no text; the standard library lets it pass.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return NO_JSON
    return found


def fault_of(plain: Any) -> Reason | None:
    """The contract: an object; then each field in its turn must be there, and of its type; then names must not be blank."""
    if not isinstance(plain, dict):
        return Reason.UNDECODABLE
    for name, kind in (("cohort_id", str), ("cohort_name", str), ("in_cohort", bool), ("users", list)):
        if name not in plain:
            return Reason.MISSING_FIELD
        if not isinstance(plain[name], kind):
            return Reason.INVALID_FIELD
    if (
        plain["cohort_id"].isspace()
        or plain["cohort_name"].isspace()
        or not plain["cohort_id"]
        or not plain["cohort_name"]
    ):
        return Reason.INVALID_FIELD
    return None


def user_of(plain: Any) -> User | None:
    if not isinstance(plain, dict):
        return None
    user_id, properties = plain.get("user_id"), plain.get("user_properties")
    if isinstance(user_id, bool) or not isinstance(user_id, str | int | None):
        return None
    if not isinstance(properties, dict | None):
        return None
    return User(user_id, properties)


def same(one: User | None, other: User | None) -> bool:
    return one == other and type(one and one.user_id) is type(other and other.user_id)


def _look_at(user: User | None) -> None:
    if user is None:
        return
    for name, value in (("user_id", user.user_id), ("email", (user.user_properties or {}).get("email"))):
        address = cohort_change.address_of(user, name)
        assert address == address_in(value), f"{value!r} holds {address_in(value)!r}, not {address!r}"


def address_in(value: Any) -> str | None:
    """One @ with something on both sides; no white space, no control character, none of `,;<>`; at most 254 long."""
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    before, at, after = text.partition("@")
    if not (at and before and after) or "@" in after or len(text) > 254:
        return None
    if any(letter.isspace() or ord(letter) < 32 or ord(letter) == 127 or letter in ",;<>" for letter in text):
        return None
    return text


def _look_at_parts(change: CohortChange, plain: Any) -> None:
    """A partial dead letter is the message itself, with fewer users."""
    count = len(change)
    assert change.only(range(count)) == change.value
    for chosen in (range(0, count, 2), range(1, count, 2), range(0)):
        part = change.only(chosen)
        again = cohort_change.decode(part)
        assert isinstance(again, CohortChange), f"a part of it is none: {again}"
        assert (again.cohort_id, again.cohort_name, again.entered) == (
            change.cohort_id,
            change.cohort_name,
            change.entered,
        )
        assert repr(again.users) == repr([change.user(index) for index in chosen])
        assert keys.cohort_key(SYNC, part) == keys.cohort_key(SYNC, change.value)
        if plain is not NO_JSON:
            assert strict(part) == {**plain, "users": [plain["users"][index] for index in chosen]}
