"""What the pages say of a painted picture: fates of events, masked addresses, and texts that would like to be markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson
import pytest

from console.feed import Place
from console.picture import Refusal, summed_up
from console.worker_metrics import Said, combined, read
from listwire import topics
from listwire.control import Pause
from listwire.dead_letters import Letter
from listwire.kafka_groups import Member
from listwire.kafka_reader import Record
from listwire.lag import GroupLag, PartitionLag
from listwire.letter_index import Index
from listwire.logs import address_hash
from listwire.metrics import Status
from listwire.records import Reason
from listwire.trace import Trace
from tests.unit.console_door import Door
from tests.unit.letters import letter, record_of
from tests.webhook_bodies import webhook

ADA = "ada.l@example.com"


@pytest.fixture
async def door() -> Door:
    found = Door()
    await found.login()
    return found


def arrived(door: Door, offset: int, *, source: str = "newsletter", ago: float = 10.0, **fields: str) -> Record:
    at = str(int((door.clock.now - ago) * 1000))
    body = webhook(offset, **{"data_email": ADA, **fields})
    return Record(0, offset, int(at), None, body, (("source", source.encode()), ("received_at", at.encode())))


def paint(
    door: Door,
    records: Iterable[Record],
    *,
    committed: int | None,
    letters: Iterable[Letter] = (),
    working: bool = True,
) -> None:
    """Both topics read to their end, and the group's offset."""
    picture = door.watch.picture
    records = list(records)
    picture.events.add(topics.WEBHOOKS, records, door.clock.now)
    for topic in picture.feed.topics.values():
        topic.places[0] = Place(0, len(records), old=True)
    index = Index()
    for number, each in enumerate(letters):
        index.add(record_of(each, 0, number))
    picture.letters = summed_up(index, picture.shown_origins())
    members = (Member("1", "listwire", "localhost", ()),) if working else ()
    state = "Stable" if working else "Empty"
    lag = PartitionLag(0, committed, 0, len(records), max(0, len(records) - (committed or 0)), None, 0)
    webhooks = GroupLag(topics.SUBSCRIPTIONS_GROUP, topics.WEBHOOKS, state, members, (lag,))
    changes = GroupLag(topics.COHORTS_GROUP, topics.COHORT_CHANGES, state, members, ())
    picture.take_lags([webhooks, changes])
    picture.at = door.clock.now


async def text(door: Door, path: str = "/") -> str:
    answer = await door.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_before_kafka_is_read_the_page_says_so_and_claims_nothing(door: Door) -> None:
    page = await text(door)
    assert "Reading Kafka" in page
    assert "Looking for its last event" in page
    assert "Waiting for the first event" not in page
    assert "Connected" not in page


async def test_each_connection_has_its_status(door: Door) -> None:
    paint(door, [arrived(door, 0)], committed=1)
    page = await text(door)
    assert page.count("Connected") == 1
    assert page.count("Waiting for the first event") == 2


async def test_what_waits_is_behind_and_says_that_nobody_works(door: Door) -> None:
    paint(door, [arrived(door, 0, ago=240)], committed=None, working=False)
    door.watch.picture.oldest = {"sources.newsletter": door.clock.now - 240}
    page = await text(door)
    assert "Behind by 4 min" in page
    assert "No worker is running" in page
    assert "Connected" not in page


async def test_a_kafka_that_is_away_leaves_the_picture_standing_with_its_age(door: Door) -> None:
    paint(door, [arrived(door, 0)], committed=1)
    door.watch.picture.fault = "Kafka at localhost:9 cannot be used: it is away."
    door.clock.now += 120
    page = await text(door)
    assert "Kafka cannot be read." in page
    assert "2 min ago" in page
    assert "it is away" in page
    assert "Connected" in page


async def test_an_old_picture_is_called_old(door: Door) -> None:
    paint(door, [], committed=0)
    door.clock.now += 60
    assert "Kafka answers slowly" in await text(door)


async def test_the_fates_of_events(door: Door) -> None:
    dead = letter("listwire.webhooks/0/1", b"x", connection="sources.newsletter", reason=Reason.OVER_QUOTA)
    other = letter("listwire.webhooks/0/0", b"x", connection="sources.shop")
    records = [arrived(door, 0), arrived(door, 1), arrived(door, 2, kind="profile"), arrived(door, 3)]
    paint(door, records, committed=3, letters=[dead, other])
    picture = door.watch.picture
    fates = [picture.fate("sources.newsletter", e)[0].name for e in picture.events.of["sources.newsletter"].newest]
    assert fates == ["DELIVERED", "DEAD", "NOT_SENT", "WAITING"]
    page = await text(door, "/connections/sources.newsletter")
    assert f"/dead-letters/letter/{dead.id}" in page
    assert "only subscribe and unsubscribe are" in page


async def test_addresses_are_shown_only_to_who_asks(door: Door) -> None:
    paint(door, [arrived(door, 0)], committed=1)
    masked = await text(door, "/connections/sources.newsletter")
    assert ADA not in masked
    assert f"/trace?who={address_hash(ADA)}" in masked
    assert ADA in await text(door, "/connections/sources.newsletter?reveal=1")


async def test_a_refusal_is_told_in_the_vendors_words(door: Door) -> None:
    paint(door, [arrived(door, 0)], committed=1, letters=[letter("listwire.webhooks/0/0")])
    door.watch.picture.refusals = {
        "sources.newsletter": Refusal(door.clock.now - 5, "amplitude answered 400: Invalid API key: [redacted]")
    }
    assert "Refused: Amplitude says the API key is invalid" in await text(door)


async def test_what_a_worker_says_counts_while_one_runs(door: Door) -> None:
    paint(door, [arrived(door, 0)], committed=1)
    door.watch.picture.said = Said({"sources.newsletter": Status.REFUSED})
    assert "Refused: Amplitude does not accept the key" in await text(door)
    paint(door, [], committed=1, working=False)
    assert "Refused" not in await text(door)


async def test_a_pause_is_shown_with_its_reason(door: Door) -> None:
    paint(door, [arrived(door, 0)], committed=1)
    door.watch.picture.pauses = {"sources.newsletter": Pause("sources.newsletter", 0, "a <b>campaign</b>")}
    page = await text(door)
    assert "Paused" in page
    assert "a &lt;b&gt;campaign&lt;/b&gt;" in page


async def test_foreign_texts_never_become_markup_nor_turn_the_page_around(door: Door) -> None:
    evil = '"><script>alert(1)</script>\u202e'
    dead = letter(connection=f"sources.{evil}", reason=Reason.UNKNOWN_CONNECTION)
    paint(door, [arrived(door, 0, kind=evil, data_email=f"{evil}@example.com")], committed=1, letters=[dead])
    for path in ("/", "/dead-letters", "/connections/sources.newsletter?reveal=1"):
        page = await text(door, path)
        assert "<script>alert" not in page
        assert "\u202e" not in re.sub(r' value="[^"]*"', "", page)  # a form must send the name as it is


async def test_dead_letters_are_grouped_with_meaning_and_way_out(door: Door) -> None:
    letters = [letter(f"listwire.webhooks/0/{n}", b"%d" % n) for n in range(3)]
    paint(door, [], committed=0, letters=letters)
    page = await text(door, "/dead-letters")
    assert "Connection refused" in page
    assert "The vendor refuses the key or account of this connection." in page
    assert 'action="/dead-letters/prepare"' in page
    assert ">3</p>" in page


async def test_a_reason_of_a_newer_version_breaks_no_page(door: Door) -> None:
    paint(door, [], committed=0, letters=[])
    index = Index()
    made = letter()
    headers = tuple((k, b"brand_new" if k == "reason" else v) for k, v in made.headers())
    index.add(Record(0, 0, 0, None, b"x", headers))
    door.watch.picture.letters = summed_up(index, [])
    assert "This version does not know the reason." in await text(door, "/dead-letters")


async def test_an_unknown_connection_has_no_page(door: Door) -> None:
    assert (await door.client.get("/connections/sources.nobody")).status_code == 404


async def test_updating_can_be_stopped(door: Door) -> None:
    assert "live.js" in await text(door)
    still = await text(door, "/?live=off")
    assert "live.js" not in still
    assert "http-equiv" not in still


async def test_letters_cannot_be_read_while_kafka_is_away(door: Door) -> None:
    answer = await door.client.get("/dead-letters/letter/0123456789")
    assert answer.status_code == 503
    assert "Kafka is not read yet" in answer.text


async def test_an_address_is_asked_for_by_post_and_only_its_hash_by_get(door: Door) -> None:
    page = await text(door, f"/trace?who={address_hash(ADA)}")
    assert f'value="{address_hash(ADA)}"' in page
    assert ADA not in await text(door, f"/trace?who={ADA}")
    answer = await door.post("/trace", {"csrf": await door.csrf(), "address": "nobody"})
    assert answer.status_code == 400
    assert "An address has an @" in answer.text


@pytest.mark.parametrize("path", ["/trace/x", "/dead-letters/prepared/x", "/dead-letters/replay/x"])
async def test_a_job_of_nobody_is_not_found(door: Door, path: str) -> None:
    assert (await door.client.get(path)).status_code == 404


async def test_only_who_began_a_job_sees_it(door: Door) -> None:
    session = door.doorkeeper.session(door.client.cookies["listwire_console_8084"])
    assert session is not None
    job = door.app.state.jobs.hold("trace", session.id, "x", (ADA, Trace("addr:x")))
    assert "Nothing found" in await text(door, f"/trace/{job.id}")
    door.client.cookies.clear()
    await door.login()
    assert (await door.client.get(f"/trace/{job.id}")).status_code == 404


async def test_a_replay_of_a_plan_that_was_not_shown_is_refused(door: Door) -> None:
    answer = await door.post("/dead-letters/replay", {"csrf": await door.csrf(), "plan": "made-up"})
    assert answer.status_code == 503
    assert "too old" in answer.text


def test_workers_metrics_are_read_and_the_gravest_word_counts() -> None:
    def page(status: int, started: int) -> str:
        return (
            "# TYPE listwire_connection_status gauge\n"
            f'listwire_connection_status{{connection="sources.newsletter"}} {status}.0\n'
            "# TYPE process_start_time_seconds gauge\n"
            f"process_start_time_seconds {started}\n"
        )

    said = combined([("one", page(0, 100)), ("two", page(3, 200)), ("three", page(1, 50)), ("four", "<html>")])
    assert said.status == {"sources.newsletter": Status.REFUSED}
    assert said.since == {"sources.newsletter": 200.0}
    assert said.reached == ("one", "two", "three")


@pytest.mark.parametrize("page", ["", "no metrics at all", '{"json": 1}', "listwire_connection_status{ 1", "a" * 1000])
def test_a_page_that_is_no_workers_says_nothing(page: str) -> None:
    assert read(page) is None


def test_a_cohort_change_counts_for_every_sync_that_takes_it(door: Door) -> None:
    change = {"cohort_id": "c", "cohort_name": "VIP Berlin", "in_cohort": True, "users": [{}, {}]}
    record = Record(0, 0, int(door.clock.now * 1000), None, orjson.dumps(change), ())
    events = door.watch.picture.events
    events.add(topics.COHORT_CHANGES, [record], door.clock.now)
    (event,) = events.of["cohort_syncs.vip"].newest
    assert (event.what, event.people, event.addresses) == ("entered VIP Berlin", 2, ())
