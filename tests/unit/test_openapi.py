"""The OpenAPI document says what the ingress's code does: paths, methods, statuses, words, caps, headers; every reference leads somewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingress import answers, pages, routes, signature
from ingress.app import Limits
from listwire import __version__, topics
from listwire.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT: dict[str, Any] = json.loads((DOCS / "openapi-ingress.json").read_text())
METHODS = {"get", "head", "post", "put", "patch", "delete", "options", "trace"}


def resolved(part: Any) -> Any:
    """Follows one reference; KeyError or OSError where it names nothing."""
    if "$ref" not in part:
        return part
    file, _, pointer = part["$ref"].partition("#")
    found = json.loads((DOCS / file).read_text()) if file else DOCUMENT
    for step in filter(None, pointer.split("/")):
        found = found[step]
    return found


def references(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method]


def test_paths_methods_and_statuses_are_the_codes() -> None:
    documented: dict[str, dict[str, frozenset[int]]] = {}
    for path, method, operation in operations():
        documented.setdefault(path, {})[method] = frozenset(map(int, operation["responses"]))
    assert documented == answers.OPERATIONS


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 20
    assert all(resolved(each) for each in found)


def test_the_words_are_those_that_are_sent() -> None:
    said: dict[int, set[str]] = {}
    for _, _, operation in operations():
        if "webhooks" not in operation["tags"]:
            continue
        for status, response in operation["responses"].items():
            for content in resolved(response).get("content", {}).values():
                said.setdefault(int(status), set()).add(content["example"])
    assert said == {status: {words.decode()} for status, words in answers.WORDS.items() if words and status != 405}
    example = DOCUMENT["components"]["responses"]["MethodNotAllowed"]["content"]["text/plain"]["example"]
    assert example.encode() == answers.WORDS[405]


def test_the_readiness_pages_words_are_those_that_are_sent() -> None:
    assert set(DOCUMENT["paths"]) - {answers.HOOK, answers.COHORTS} == set(pages.pages(None, None))  # type: ignore[arg-type]


def test_content_types_caps_and_methods_are_the_routes() -> None:
    settings = Settings(
        amplitude={"p": {"api_key": "k"}},
        mailchimp={"m": {"api_key": "k-us6"}},
        sources={"s": {"audience": "a", "amplitude": "p", "secrets": ["x"]}},
        cohort_syncs={"c": {"audience": "a", "mailchimp": "m", "secrets": ["x"]}},
    )
    for route in routes.from_settings(settings):
        item = DOCUMENT["paths"][answers.HOOK if route.kind == "mailchimp" else answers.COHORTS]
        body = item["post"]["requestBody"]
        assert list(body["content"]) == [route.content_type.decode()]
        cap = (
            f"{route.most_bytes >> 10} KiB"
            if route.most_bytes < topics.MIB
            else f"{route.most_bytes // topics.MIB} MiB"
        )
        assert cap in body["description"]
        assert {method.lower() for method in route.methods} == METHODS & set(item)


def test_the_deadlines_are_the_codes() -> None:
    limits = Limits()
    words = DOCUMENT["info"]["description"], json.dumps(DOCUMENT["components"]["responses"])
    assert limits.body == 5.0
    assert "5 seconds after the end of the headers" in words[1]
    assert limits.kafka == 8.0
    assert "within 8 seconds" in words[1]
    assert limits.whole < 9
    assert "within 9 seconds" in words[0]


def test_headers_are_named_as_they_are_read_and_sent() -> None:
    post = DOCUMENT["paths"][answers.HOOK]["post"]
    assert [each["name"].lower().encode() for each in post["parameters"]] == [signature.HEADER]
    assert re.search(signature._DIGEST, post["parameters"][0]["example"].encode())
    retry = DOCUMENT["components"]["responses"]["NotStored"]["headers"]["retry-after"]
    assert retry["example"].encode() == answers.RETRY_AFTER


@pytest.mark.parametrize("status", ["410", "301", "302"])
def test_a_status_that_would_harm_is_documented_nowhere(status: str) -> None:
    assert all(status not in operation["responses"] for _, _, operation in operations())


def test_the_document_is_of_this_version() -> None:
    assert DOCUMENT["info"]["version"] == __version__
    assert "410 is never answered" in DOCUMENT["info"]["description"]
