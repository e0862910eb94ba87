"""A stage in the middle of a working day: something of everything that the console can show."""

from __future__ import annotations

import math
import random

import orjson

from listwire import topics
from listwire.records import Reason
from tests.browser.stage import INVALID_KEY, Stage
from tests.webhook_bodies import webhook

SOURCES = ("newsletter", "shop", "events-berlin", "partners")
SYNCS = {"newsletter": "*", "vip": "VIP*"}
ADDRESS = "ada.lovelace@example.com"


def busy_day(stage: Stage) -> None:
    """newsletter works, shop is refused, events-berlin is behind, partners waits for its first event."""
    chooser = random.Random(3)
    stage.start_workers()
    times: list[tuple[float, str, int]] = []
    for minute in range(58):
        ago = (58 - minute) * 60.0
        wanted = 3 + 3 * math.sin(minute / 9) + chooser.random() * 3
        times += [(ago - chooser.random() * 50, "newsletter", n) for n in range(max(0, round(wanted)))]
        times += [(ago - chooser.random() * 50, "shop", n) for n in range(chooser.randrange(4)) if ago > 1000]
        times += [(ago, "events-berlin", 0)] * (chooser.random() < 0.4 and minute < 50)
    for number, (ago, source, _) in enumerate(sorted(times, reverse=True)):
        kind = chooser.choice(["subscribe"] * 5 + ["unsubscribe"] * 3 + ["profile"])
        stage.webhook(source, number, ago=max(ago, 20), kind=kind)
    stage.webhook("newsletter", 9001, ago=40, data_email=ADDRESS)
    _dead(stage)
    for ago, cohort, entered in ((3000, "Power users", True), (1500, "VIP Berlin", True), (600, "Power users", False)):
        members = [f"member{i}@example.com" for i in range(chooser.randrange(40, 400))]
        stage.change(cohort, [*members, ADDRESS], entered=entered, ago=ago)
    stage.settle(topics.COHORTS_GROUP)
    stage.settle()
    stage.webhook("events-berlin", 77, ago=250, partition=1)


def _dead(stage: Stage) -> None:
    for number in range(14):
        ago = 900 - number * 60
        place = stage.webhook("shop", 500 + number, ago=ago)
        stage.bury(
            topics.WEBHOOKS, place, webhook(500 + number), "sources.shop", Reason.CONNECTION_REFUSED, INVALID_KEY, ago=ago - 5
        )  # fmt: skip
    body = webhook(700, data_list_id="0000000000")
    place = stage.webhook("newsletter", 700, ago=2000, data_list_id="0000000000")
    words = "data[list_id] is '0000000000'; the source's audience is 'f1243a3b12'"
    stage.bury(topics.WEBHOOKS, place, body, "sources.newsletter", Reason.WRONG_AUDIENCE, words, ago=1999)
    change = {"cohort_id": "vip", "cohort_name": "VIP Berlin", "in_cohort": True, "users": [{"user_id": "4711"}]}
    stage.bury(
        topics.COHORT_CHANGES, (0, 1), orjson.dumps(change), "cohort_syncs.vip", Reason.NO_USABLE_ADDRESS,
        "user 4711 has no address in the property email", ago=1490, headers={},
    )  # fmt: skip
