"""The AsyncAPI document says what the code does: topics and their settings, headers, reasons, groups; every reference leads somewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from listwire import __version__, dead_letters, replay, topics
from listwire.records import Reason
from listwire.settings import Settings, values

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())


def resolved(part: Any) -> Any:
    """Every reference replaced by what it names; a KeyError or OSError where it names nothing."""
    if isinstance(part, list):
        return [resolved(each) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" not in part:
        return {name: resolved(each) for name, each in part.items()}
    assert set(part) == {"$ref"}, "what stands beside a $ref is not read"
    file, _, pointer = part["$ref"].partition("#")
    found = json.loads((DOCS / file).read_text()) if file else WRITTEN
    for step in filter(None, pointer.split("/")):
        found = found[step]
    return resolved(found)


DOCUMENT = resolved(WRITTEN)
CHANNELS = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
MESSAGES = DOCUMENT["components"]["messages"]
# Written out, so that a header that comes or goes is seen here as well.
HEADERS = {
    topics.SOURCE, topics.SYNC, topics.RECEIVED_AT, topics.REQUEST_ID, topics.REASON, topics.DETAIL, topics.CONNECTION,
    topics.ORIGIN, topics.FAILED_AT, topics.REPLAYED, topics.REPLAY_OF, topics.REPLAY_FORCE, topics.BACKFILLED,
}  # fmt: skip


def headers_fit(message: str, headers: list[tuple[str, bytes]]) -> None:
    found = {name: value.decode() for name, value in headers}
    schema = {**MESSAGES[message]["headers"], "additionalProperties": False}
    jsonschema.Draft202012Validator(schema).validate(found)


def test_it_is_asyncapi_3_of_this_version() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["version"] == __version__


def test_its_channels_are_the_topics_with_the_settings_they_are_created_with() -> None:
    assert set(CHANNELS) == set(topics.BY_NAME)
    for name, topic in topics.BY_NAME.items():
        written = CHANNELS[name]["bindings"]["kafka"]
        config = {k: ",".join(v) if isinstance(v, list) else str(v) for k, v in written["topicConfiguration"].items()}
        assert config == topic.config
        assert written["partitions"] == Settings().topics.partitions


def test_its_headers_are_all_of_the_contract_s_and_no_others() -> None:
    assert {name for message in MESSAGES.values() for name in message["headers"]["properties"]} == HEADERS
    constants = {v for k, v in vars(topics).items() if k.isupper() and isinstance(v, str) and "listwire" not in v}
    assert constants == HEADERS


def test_its_reasons_are_the_contract_s_in_their_order() -> None:
    assert MESSAGES["deadLetter"]["headers"]["properties"]["reason"]["enum"] == [reason.value for reason in Reason]


def test_its_groups_are_those_the_workers_join() -> None:
    channels = {f"#/channels/{key}": channel["address"] for key, channel in WRITTEN["channels"].items()}
    groups = {
        operation["bindings"]["kafka"]["groupId"]["enum"][0]: channels[operation["channel"]["$ref"]]
        for operation in WRITTEN["operations"].values()
        if "bindings" in operation
    }
    assert groups == topics.GROUPS


def test_every_operation_is_about_a_channel_and_messages_of_it() -> None:
    for operation in WRITTEN["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["action"] in {"send", "receive"}
        for message in operation.get("messages", []):
            assert message["$ref"].startswith(f"{channel}/messages/")
    for channel in WRITTEN["channels"].values():
        for message in channel["messages"].values():
            assert message["$ref"].startswith("#/components/messages/")


def schemas() -> Iterator[tuple[str, Any]]:
    for name, message in MESSAGES.items():
        yield f"{name} headers", message["headers"]
        yield f"{name} payload", message["payload"]
    yield from DOCUMENT["components"]["schemas"].items()


@pytest.mark.parametrize(("name", "schema"), list(schemas()), ids=lambda value: value if isinstance(value, str) else "")
def test_its_schemas_are_schemas(name: str, schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", list(MESSAGES))
def test_its_examples_are_examples(name: str) -> None:
    message = MESSAGES[name]
    for example in message.get("examples", []):
        headers_fit(name, [(key, value.encode()) for key, value in example["headers"].items()])
        jsonschema.Draft202012Validator(message["payload"]).validate(example["payload"])


@given(
    reason=st.sampled_from(Reason),
    detail=st.text(st.characters(exclude_categories=["Cs"]), max_size=3000),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    failed_at=st.integers(0, 10**14),
    topic=st.sampled_from([topics.WEBHOOKS, topics.COHORT_CHANGES]),
)
def test_a_letter_that_is_written_fits_and_so_does_its_replay(
    reason: Reason, detail: str, partition: int, offset: int, failed_at: int, topic: str
) -> None:
    cohorts = topic == topics.COHORT_CHANGES
    letter = dead_letters.make(
        topic=topic, partition=partition, offset=offset, key=b"k", value=b"v", reason=reason, detail=detail,
        connection="cohort_syncs.newsletter" if cohorts else "sources.newsletter", failed_at=failed_at,
        headers=[(topics.SYNC if cohorts else topics.SOURCE, b"newsletter"), (topics.RECEIVED_AT, b"1"), (topics.REQUEST_ID, b"r")],
    )  # fmt: skip
    headers_fit("deadLetter", letter.headers())
    headers_fit("cohortChange" if cohorts else "webhook", replay.headers(letter, force=True))
    headers_fit("done", [(topics.REPLAYED, letter.id.encode())])


def test_names_and_places_are_those_that_the_code_takes() -> None:
    written = DOCUMENT["components"]["schemas"]
    assert written["name"]["pattern"] == f"^{values.NAME.pattern.removesuffix(chr(92) + 'Z')}$"
    assert written["place"]["pattern"] == f"^{dead_letters.ORIGIN.pattern.replace('(', '').replace(')', '')}$"
    assert MESSAGES["deadLetter"]["headers"]["properties"]["detail"]["maxLength"] == dead_letters.MAX_DETAIL
