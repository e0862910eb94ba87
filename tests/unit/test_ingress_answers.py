"""What the ingress answers, and in which order it looks: each status of the contract, without a server."""

from __future__ import annotations

import pytest

from ingress.answers import OPERATIONS, WORDS
from listwire import topics
from tests import virtual_time
from tests.ingress_peer import COHORT, COHORTS, FORM, HOOK, SIGNED, Kafka, ask, running, signed
from tests.webhook_bodies import SUBSCRIBE

# What is stored


def test_a_webhook_is_204_once_kafka_has_it_byte_for_byte() -> None:
    kafka = Kafka(delay=0.5)
    answer = ask("POST", HOOK, SUBSCRIBE, kafka=kafka)
    assert (answer.status, answer.body, answer.seconds) == (204, b"", 0.5)
    [(topic, key, value, headers)] = kafka.records
    assert (topic, key, value) == (topics.WEBHOOKS, b"newsletter:b748506b63", SUBSCRIBE)
    assert headers == {
        "source": b"newsletter",
        "received_at": b"%d" % int(virtual_time.EPOCH * 1000),
        "request_id": answer.headers["x-request-id"].encode(),
    }


def test_a_cohort_change_is_200_once_kafka_has_it() -> None:
    kafka = Kafka()
    answer = ask("POST", COHORTS, COHORT, content_type="application/json", kafka=kafka)
    assert answer.status == 200
    [(topic, key, value, headers)] = kafka.records
    assert (topic, key, value, headers["sync"]) == (topics.COHORT_CHANGES, b"7khm89cz", COHORT, b"daily")


def test_a_cohort_post_that_is_not_json_is_stored_under_the_syncs_name() -> None:
    kafka = Kafka()
    assert ask("POST", COHORTS, b"not json", content_type="application/json", kafka=kafka).status == 200
    assert [record[1] for record in kafka.records] == [b"daily"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_in_pieces_is_put_together(chunked: bool) -> None:
    kafka = Kafka()
    pieces = [(0.5, SUBSCRIBE[:7]), (0.5, b""), (0.5, SUBSCRIBE[7:])]
    assert ask("POST", HOOK, pieces, chunked=chunked, kafka=kafka).status == 204
    assert [record[2] for record in kafka.records] == [SUBSCRIBE]


@pytest.mark.parametrize("path", [HOOK, COHORTS])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_empty_body_is_200_and_not_stored(path: str, chunked: bool) -> None:
    kafka = Kafka(refuses=True)
    kind = FORM if path == HOOK else "application/json"
    assert ask("POST", path, b"", content_type=kind, chunked=chunked, kafka=kafka).status == 200


def test_an_empty_body_needs_no_content_type() -> None:
    assert ask("POST", HOOK, content_type=None).status == 200


def test_request_ids_are_uuid4s_and_never_repeat() -> None:
    async def main() -> list[str]:
        async with running() as peer:
            return [(await peer.ask("POST", HOOK, b"a=b")).headers["x-request-id"] for _ in range(600)]

    ids = virtual_time.run(main())
    assert len(set(ids)) == 600
    assert all(len(each) == 32 and each[12] == "4" and each[16] in "89ab" for each in ids)


# Who is let in


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_mailchimps_check_of_the_url_is_200(method: str) -> None:
    assert ask(method, HOOK).status == 200


NOWHERE = [
    "/",
    "/nothing",
    HOOK + "x",
    HOOK + "/",
    HOOK.replace("newsletter", "nobody"),
    COHORTS + "x",
    "/webhooks/mailchimp/newsletter",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_wrong_path_unknown_name_and_wrong_secret_are_the_same_404(method: str) -> None:
    answers = [ask(method, path) for path in NOWHERE]
    assert {(a.status, a.body, str(a.headers)) for a in answers} == {
        (404, WORDS[404], "{'content-type': 'text/plain; charset=utf-8'}")
    }


def test_a_404_comes_before_the_body_is_read_and_tells_no_request_id() -> None:
    answer = ask("POST", HOOK + "x", [(1.0, b"a=b")])
    assert (answer.status, answer.seconds, answer.read_before) == (404, 0, 0)
    assert answer.headers["connection"] == "close"
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", HOOK, "GET, HEAD, POST"), ("OPTIONS", HOOK, "GET, HEAD, POST"), ("GET", COHORTS, "POST"), ("HEAD", COHORTS, "POST"),
     ("POST", "/healthz", "GET, HEAD"), ("POST", "/metrics", "GET, HEAD"), ("DELETE", "/readyz", "GET, HEAD")],
)  # fmt: skip
def test_another_method_is_405_for_whoever_knows_the_secret(method: str, path: str, allowed: str) -> None:
    answer = ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [(HOOK, FORM, 204), (HOOK, FORM + "; charset=UTF-8", 204), (HOOK, FORM.upper(), 204), (HOOK, "application/json", 415),
     (HOOK, "multipart/form-data; boundary=x", 415), (HOOK, None, 415), (HOOK, "", 415), (HOOK, FORM + "x", 415),
     (COHORTS, "application/json", 200), (COHORTS, "Application/JSON ;charset=utf-8", 200), (COHORTS, FORM, 415), (COHORTS, "text/json", 415)],
)  # fmt: skip
def test_only_the_routes_content_type_is_taken(path: str, kind: str | None, status: int) -> None:
    assert ask("POST", path, b"a=b", content_type=kind).status == status


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), (signed(SUBSCRIBE), 204), (signed(SUBSCRIBE, 299), 204), (signed(SUBSCRIBE, 301), 401), (signed(b"other"), 401), ("x", 401)],
)  # fmt: skip
def test_a_source_with_a_signing_secret_takes_signed_bodies_only(header: str | None, status: int) -> None:
    kafka = Kafka()
    more = {} if header is None else {"x_mailchimp_signature": header}
    assert ask("POST", SIGNED, SUBSCRIBE, kafka=kafka, **more).status == status
    assert len(kafka.records) == (status == 204)


def test_a_url_check_needs_no_signature_but_an_empty_body_does() -> None:
    assert ask("GET", SIGNED).status == 200
    assert ask("POST", SIGNED).status == 401
    assert ask("POST", SIGNED, x_mailchimp_signature=signed(b"")).status == 200


# The order of the checks: a request with all faults is told them one after the other


def test_the_checks_run_in_the_contracts_order() -> None:
    kafka = Kafka(refuses=True)
    large, slow = b"x" * (64 * 1024 + 1), [(9.0, b"x")]
    assert ask("PUT", SIGNED + "x", large, content_type="text/plain").status == 404
    assert ask("PUT", SIGNED, large, content_type="text/plain").status == 405
    assert ask("POST", SIGNED, large, content_type="text/plain").status == 415
    assert ask("POST", SIGNED, large, length=70_000).status == 413
    assert ask("POST", SIGNED, slow, kafka=kafka).status == 408
    assert ask("POST", SIGNED, b"x", kafka=kafka).status == 401
    assert ask("POST", SIGNED, b"", kafka=kafka).status == 401
    assert ask("POST", SIGNED, b"", kafka=kafka, x_mailchimp_signature=signed(b"")).status == 200
    assert ask("POST", SIGNED, b"x", kafka=kafka, x_mailchimp_signature=signed(b"x")).status == 503
    assert ask("POST", SIGNED, b"x", x_mailchimp_signature=signed(b"x")).status == 204


# Faults of ours, and what must never be


def test_a_bug_of_ours_is_500() -> None:
    assert ask("POST", HOOK, b"a=b", kafka=Kafka(breaks=True)).status == 500


def test_there_is_no_way_to_answer_410() -> None:
    assert 410 not in WORDS
    assert all(410 not in found for methods in OPERATIONS.values() for found in methods.values())


def test_every_status_that_can_be_given_has_its_words() -> None:
    assert {status for methods in OPERATIONS.values() for found in methods.values() for status in found} | {405} == set(
        WORDS
    )
