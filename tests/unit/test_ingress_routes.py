"""Who knows a secret gets a route; everybody else gets nothing, and the same work is done for it."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress import routes
from listwire import topics
from listwire.settings import Settings

BASE: dict[str, Any] = {
    "amplitude": {"product": {"api_key": "key"}},
    "mailchimp": {"acme": {"api_key": "key-us6"}},
}
SOURCE = {"audience": "a", "amplitude": "product"}
SYNC = {"audience": "a", "mailchimp": "acme"}


def table(sources: dict[str, list[str]], syncs: dict[str, list[str]] | None = None) -> routes.Routes:
    return routes.from_settings(
        Settings(
            **BASE,
            sources={name: {**SOURCE, "secrets": secrets} for name, secrets in sources.items()},
            cohort_syncs={name: {**SYNC, "secrets": secrets} for name, secrets in (syncs or {}).items()},
        )
    )


def test_the_right_path_leads_to_its_source() -> None:
    route = table({"newsletter": ["s3cret"], "other": ["s3cret"]}).find("/webhooks/mailchimp/newsletter/s3cret")
    assert route is not None
    assert (route.kind, route.name, route.topic, route.origin) == (
        "mailchimp", "newsletter", topics.WEBHOOKS, ("source", b"newsletter"),
    )  # fmt: skip
    assert (route.most_bytes, route.stored) == (64 * 1024, 204)


def test_a_sync_has_its_own_path_topic_and_cap() -> None:
    route = table({"newsletter": ["s3cret"]}, {"newsletter": ["c0hort"]}).find(
        "/webhooks/amplitude/cohorts/newsletter/c0hort"
    )
    assert route is not None
    assert (route.kind, route.topic, route.origin) == ("amplitude", topics.COHORT_CHANGES, ("sync", b"newsletter"))
    assert (route.most_bytes, route.stored, route.methods) == (8 << 20, 200, ("POST",))


@pytest.mark.parametrize(
    "path",
    ["", "/", "*", "/webhooks", "/webhooks/mailchimp/", "/webhooks/mailchimp/newsletter", "/webhooks/mailchimp/newsletter/",
     "/webhooks/mailchimp/newsletter/s3cret/", "/webhooks/mailchimp/newsletter/s3cre", "/webhooks/mailchimp/newsletter/s3crets",
     "/webhooks/mailchimp//newsletter/s3cret", "//webhooks/mailchimp/newsletter/s3cret", "/webhooks/mailchimp/Newsletter/s3cret",
     "/webhooks/mailchimp/nobody/s3cret", "/webhooks/amplitude/cohorts/newsletter/s3cret", "/webhooks/mailchimp/newsletter/c0hort",
     "newsletter/s3cret", "/webhooks/mailchimp/newsletter/s3cret\udcff"],
)  # fmt: skip
def test_everything_else_leads_nowhere(path: str) -> None:
    assert table({"newsletter": ["s3cret"]}, {"daily": ["c0hort"]}).find(path) is None


def test_two_secrets_are_valid_while_rotating() -> None:
    both = table({"newsletter": ["old", "new"], "other": ["else"]})
    for secret in ("old", "new"):
        assert both.find(f"/webhooks/mailchimp/newsletter/{secret}") is not None
    assert both.find("/webhooks/mailchimp/other/new") is None


@given(st.text(min_size=1).filter(str.strip))
def test_a_secret_may_hold_any_characters(secret: str) -> None:
    assert table({"newsletter": [secret]}).find(f"/webhooks/mailchimp/newsletter/{secret}") is not None


def test_a_sync_without_secrets_has_no_route() -> None:
    assert len(table({}, {"daily": []})) == 0
    assert table({}, {"daily": []}).find("/webhooks/amplitude/cohorts/daily/") is None


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/webhooks/mailchimp/nobody/x", "/webhooks/mailchimp/one/x", "/webhooks/mailchimp/two/x", "/webhooks/mailchimp/one/first",
     "/webhooks/mailchimp/two/a", "/webhooks/amplitude/cohorts/daily/x"],
)  # fmt: skip
def test_the_same_number_of_comparisons_is_made_for_every_path(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    found = table({"one": ["first"], "two": ["a", "b", "c"]}, {"daily": ["x1"]})
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    found.find(path)
    assert compared == [(32, 32)] * 3
