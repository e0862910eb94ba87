"""Mailchimp's signature: what passes, and the cause that is logged for what does not."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress import signature

NOW = 1_790_000_000.0
BODY = b"type=subscribe&data%5Bid%5D=94826aa750"
SECRET = b"whsec-one"


def v1(body: bytes = BODY, at: int = int(NOW), secret: bytes = SECRET) -> str:
    return hmac.new(secret, b"%d.%b" % (at, body), hashlib.sha256).hexdigest()


def fault(
    header: str | None, body: bytes = BODY, secrets: tuple[bytes, ...] = (SECRET,), tolerance: float = 300
) -> str | None:
    return signature.fault(None if header is None else header.encode("latin-1"), body, secrets, NOW, tolerance)


def test_a_right_signature_passes() -> None:
    assert fault(f"t={int(NOW)},v1={v1()}") is None


def test_one_of_several_digests_is_enough() -> None:
    assert fault(f"t={int(NOW)},v1={'0' * 64},v1={v1()}, v2=something") is None


def test_either_secret_passes_while_rotating() -> None:
    assert fault(f"t={int(NOW)},v1={v1(secret=b'two')}", secrets=(SECRET, b"two")) is None


def test_no_header_is_missing() -> None:
    assert fault(None) == "missing"


@pytest.mark.parametrize(
    "header",
    ["", "nonsense", f"v1={v1()}", f"t={int(NOW)}", f"t=,v1={v1()}", f"t=now,v1={v1()}", f"t={int(NOW)},v1=", f"t={int(NOW)},v1={v1()[:-1]}",
     f"t={int(NOW)},v1={v1()}0", f"t={'9' * 40},v1={v1()}", f"xt={int(NOW)},xv1={v1()}"],
)  # fmt: skip
def test_a_header_without_time_or_digest_is_malformed(header: str) -> None:
    assert fault(header) == "malformed"


def test_a_changed_body_time_or_secret_is_wrong() -> None:
    assert fault(f"t={int(NOW)},v1={v1()}", body=BODY + b"&") == "wrong"
    assert fault(f"t={int(NOW) + 1},v1={v1()}") == "wrong"
    assert fault(f"t={int(NOW)},v1={v1(secret=b'other')}") == "wrong"


@pytest.mark.parametrize(("age", "expected"), [(300, None), (301, "too old"), (-300, None), (-301, "from the future")])
def test_the_time_may_be_off_by_the_tolerance_and_no_more(age: int, expected: str | None) -> None:
    at = int(NOW) - age
    assert fault(f"t={at},v1={v1(at=at)}") == expected


def test_a_forged_signature_is_wrong_however_old_it_says_it_is() -> None:
    assert fault(f"t=1,v1={'a' * 64}") == "wrong"


def test_more_than_a_few_digests_are_not_even_looked_at() -> None:
    assert fault(f"t={int(NOW)}," + ",".join([f"v1={'0' * 64}"] * 50 + [f"v1={v1()}"])) == "wrong"


@given(st.text(alphabet=st.characters(max_codepoint=255)), st.binary(max_size=50))
def test_nothing_passes_without_the_secret_and_nothing_raises(header: str, body: bytes) -> None:
    assert fault(header, body) in {"malformed", "wrong"}
