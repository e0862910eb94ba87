"""No text that leaves us holds a known secret, however it was written down."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from listwire import redaction
from listwire.redaction import HIDDEN, Redactor
from listwire.settings import load

# Marks where a secret was cut out, and stands in no generated text.
GAP = "\ue000"
characters = st.characters(exclude_categories=("Cs", "Co"))
secrets = st.text(characters, min_size=3, max_size=12)
NOTATIONS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quoted in a path": quote,
    "quoted whole": lambda s: quote(s, safe=""),
    "quoted as a form": quote_plus,
    "quoted in lower case": lambda s: "".join(c if c.isalnum() and c.isascii() else quote(c, safe="").lower() for c in s),
    "quoted twice": lambda s: quote(quote(s, safe=""), safe=""),
    "every byte quoted": lambda s: "".join(f"%{byte:02X}" for byte in s.encode()),
    "JSON in ASCII": lambda s: json.dumps(s)[1:-1],
    "JSON in UTF-8": lambda s: orjson.dumps(s).decode()[1:-1],
    "JSON within JSON": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "JSON as PHP writes it": lambda s: json.dumps(s)[1:-1].replace("/", r"\/"),
    "a Python text": lambda s: repr(s)[1:-1],
    "a Python text in ASCII": lambda s: ascii(s)[1:-1],
    "Python bytes": lambda s: repr(s.encode())[2:-1],
    "HTML": html.escape,
}  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
@given(secret=secrets, before=st.text(characters, max_size=20), after=st.text(characters, max_size=20))
def test_a_secret_is_cut_out_of_any_text(notation: str, secret: str, before: str, after: str) -> None:
    written = NOTATIONS[notation](secret)
    left = Redactor([secret])(before + written + after).replace(HIDDEN, GAP)
    assert written not in left
    assert GAP in left


@given(secret=secrets, text=st.text(characters, max_size=60))
def test_a_text_without_the_secret_stays_as_it_is(secret: str, text: str) -> None:
    if not any(write(secret) in text for write in NOTATIONS.values()):
        assert Redactor([secret])(text) == text


def test_capitals_of_a_secret_survive_no_lower_case_encoder() -> None:
    assert Redactor(["Ab/Cd=="])("GET /webhooks/mailchimp/news/Ab%2fCd%3d%3d HTTP/1.1") == (
        f"GET /webhooks/mailchimp/news/{HIDDEN} HTTP/1.1"
    )


def test_of_two_secrets_that_begin_alike_the_longer_goes_whole() -> None:
    assert Redactor(["abc", "abcdef"])("abcdef and abc") == f"{HIDDEN} and {HIDDEN}"


def test_what_is_too_short_to_keep_anybody_out_does_not_blank_texts() -> None:
    assert Redactor(["a", "", "no"])("a banana, no?") == "a banana, no?"


class Door(BaseModel):
    locks: list[SecretStr]
    spare: dict[str, SecretStr]

    @property
    def key(self) -> SecretStr:
        return SecretStr("read-from-a-file")


class House(BaseModel):
    doors: dict[str, Door]
    plate: str = "not secret"


def test_secrets_are_found_in_lists_tables_and_files() -> None:
    house = House(doors={"front": Door(locks=[SecretStr("one"), SecretStr("two")], spare={"x": SecretStr("three")})})
    assert set(redaction.secrets_in(house)) == {"one", "two", "three", "read-from-a-file"}


def test_every_secret_of_the_settings_is_known(tmp_path) -> None:
    (tmp_path / "key").write_text("amplitude-from-file\n")
    settings = load(
        "/dev/null",
        {
            "LISTWIRE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "LISTWIRE_KAFKA__SASL_USERNAME": "user",
            "LISTWIRE_KAFKA__SASL_PASSWORD": "kafka-password",
            "LISTWIRE_AMPLITUDE__PRODUCT__API_KEY_FILE": str(tmp_path / "key"),
            "LISTWIRE_AMPLITUDE__PRODUCT__SECRET_KEY": "amplitude-secret",
            "LISTWIRE_MAILCHIMP__ACME__API_KEY": "mailchimp-key-us6",
            "LISTWIRE_SOURCES__NEWS__AUDIENCE": "a6b5da1054",
            "LISTWIRE_SOURCES__NEWS__AMPLITUDE": "product",
            "LISTWIRE_SOURCES__NEWS__SECRETS": '["path-one", "path-two"]',
            "LISTWIRE_SOURCES__NEWS__SIGNING_SECRET": "signing",
            "LISTWIRE_COHORT_SYNCS__NEWS__MAILCHIMP": "acme",
            "LISTWIRE_COHORT_SYNCS__NEWS__AUDIENCE": "a6b5da1054",
            "LISTWIRE_COHORT_SYNCS__NEWS__SECRETS": "path-three",
            "LISTWIRE_CONSOLE__TOKEN": "console-token",
        },
    )
    assert set(redaction.secrets_in(settings)) == {
        "kafka-password", "amplitude-from-file", "amplitude-secret", "mailchimp-key-us6",
        "path-one", "path-two", "signing", "path-three", "console-token",
    }  # fmt: skip
    assert redaction.for_settings(settings)("GET /webhooks/mailchimp/news/path-two") == (
        f"GET /webhooks/mailchimp/news/{HIDDEN}"
    )


def test_a_text_of_nothing_but_signs_takes_no_longer_than_its_length() -> None:
    """A pattern that looks for any number of them from each of them anew would take seconds, in the loop that serves everybody."""
    redact = Redactor(['a-secret/with"signs', "another secret\\"])

    def seconds(text: str) -> float:
        began = time.thread_time()
        assert redact(text) == text
        return time.thread_time() - began

    for sign in ("\\", "%25", "%"):
        assert seconds(sign * 32_000) < 20 * max(seconds(sign * 4_000), 0.001)
