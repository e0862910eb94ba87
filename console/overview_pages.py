"""What a person looks at first: each source and cohort sync with its status, and a page for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console.charts import bars, line
from console.picture import Picture
from console.status import Verdict
from console.views import Views
from listwire import topics
from listwire.backfill.gaps import Gap, command
from listwire.lag import WHO
from listwire.settings import Settings
from listwire.spoken import count

THINGS = {"sources": "webhook", "cohort_syncs": "cohort change"}


@dataclass(frozen=True)
class Card:
    connection: str
    kind: str
    name: str
    origin: str
    goal: str
    verdict: Verdict
    chart: Markup
    hour: str
    last_event: float | None
    letters: int


@dataclass(frozen=True)
class Worker:
    name: str
    running: int
    records: int
    seconds: float | None
    lost: int
    chart: Markup


def card(settings: Settings, picture: Picture, connection: str, now: float) -> Card:
    kind, _, name = connection.partition(".")
    lately = picture.events.of[connection]
    minutes = lately.a_minute(now)
    hour = f"{count(sum(minutes), THINGS[kind])} in the last hour"
    if (most := max(minutes)) > 1:
        hour += f", at most {most:,} a minute"
    if kind == "sources":
        source = settings.sources[name]
        origin, goal = f"Mailchimp audience {source.audience}", f"Amplitude project {source.amplitude}"
    else:
        sync = settings.cohort_syncs[name]
        origin, goal = _cohorts(sync.cohorts), f"tags in Mailchimp audience {sync.audience}"
    return Card(
        connection, kind, name, origin, goal, picture.verdict(connection, now), bars(minutes, hour),
        hour, lately.last_event, picture.letters.of_connection(connection),
    )  # fmt: skip


def _cohorts(patterns: list[str]) -> str:
    return "Every Amplitude cohort" if "*" in patterns else f"Amplitude cohorts {', '.join(patterns)}"


def workers(picture: Picture) -> list[Worker]:
    found = []
    for topic, lag in picture.lags.items():
        if picture.events.on(topic):
            chart = line(picture.readings[topic], f"Records that wait, lately; now {lag.records:,}")
            running = len(lag.members) if lag.working else 0
            found.append(Worker(WHO[lag.group], running, lag.records, lag.seconds, lag.lost, chart))
    return found


class OverviewPages:
    def __init__(self, views: Views) -> None:
        self.views = views

    def routes(self) -> list[Route]:
        return [
            Route("/", self.overview, methods=["GET"]),
            Route("/connections/{connection}", self.connection, methods=["GET"]),
            Route("/healthz", self.alive, methods=["GET"]),
        ]

    async def overview(self, request: Request) -> Response:
        picture, now = self._picture()
        cards = [card(self.views.settings, picture, name, now) for name in picture.events.of]
        return self.views.page(
            request,
            "overview",
            live=_live(request),
            sources=[each for each in cards if each.kind == "sources"],
            syncs=[each for each in cards if each.kind == "cohort_syncs"],
            workers=workers(picture),
            idle=[WHO[lag.group] for lag in picture.idle_workers()],
        )

    async def connection(self, request: Request) -> Response:
        picture, now = self._picture()
        name = request.path_params["connection"]
        if name not in picture.events.of:
            raise HTTPException(404)
        events = [(event, *picture.fate(name, event)) for event in reversed(picture.events.of[name].newest)]
        return self.views.page(
            request,
            "connection",
            live=_live(request),
            card=card(self.views.settings, picture, name, now),
            facts=self._facts(name),
            events=events,
            reveal=request.query_params.get("reveal") == "1",
            letters=[heap for heap in picture.letters.heaps if heap.connection == name],
            gap=self._gap(name, now),
            people=name.startswith("sources."),
            topic=topics.WEBHOOKS if name.startswith("sources.") else topics.COHORT_CHANGES,
        )

    def _gap(self, connection: str, now: float) -> tuple[Gap, str] | None:
        """When nothing came, and the command that brings back what was missed."""
        kind, _, name = connection.partition(".")
        gap = self.views.watch.quiet.gap() if kind == "sources" else None
        return None if gap is None else (gap, command(gap, name, now))

    async def alive(self, request: Request) -> Response:
        return PlainTextResponse("alive\n")

    def _picture(self) -> tuple[Picture, float]:
        return self.views.watch.picture, self.views.watch.clock.time()

    def _facts(self, connection: str) -> list[tuple[str, Any]]:
        """What the settings say of it; never a secret."""
        kind, _, name = connection.partition(".")
        if kind == "sources":
            source = self.views.settings.sources[name]
            return [
                ("Mailchimp account", source.mailchimp or "not named"),
                ("Audience", source.audience),
                ("Amplitude project", source.amplitude),
                ("User id", ", ".join(source.user_id)),
                ("Signatures", "checked" if source.signing_secret else "not checked"),
            ]
        sync = self.views.settings.cohort_syncs[name]
        return [
            ("Mailchimp account", sync.mailchimp),
            ("Audience", sync.audience),
            ("Cohorts", ", ".join(sync.cohorts)),
            ("Address in", sync.email_property),
            ("Fed by", "Amplitude's webhook or your producers" if sync.secrets else "your own producers"),
        ]


def _live(request: Request) -> bool:
    return request.query_params.get("live") != "off"
