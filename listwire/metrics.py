"""The one list of metrics. `docs/metrics.md` is generated from it, and dashboards and alerts may use no other name.

Per record nothing here is touched: workers count a run at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

# Outcomes of `records_total`.
RECEIVED, DELIVERED, FILTERED, DEAD_LETTERED, RETURNED = (
    "received",
    "delivered",
    "filtered",
    "dead_lettered",
    "returned",
)


class Status(IntEnum):
    """Values of `connection_status`; the console's words for them stand beside the numbers."""

    WAITING = 0  # for the first event
    CONNECTED = 1
    RETRYING = 2  # the vendor is down or throttles; nothing is lost, lag grows
    REFUSED = 3  # the vendor refuses the key; records are parked as dead letters
    PAUSED = 4  # by `listwire pause`


@dataclass(frozen=True)
class Metric:
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    process: str
    buckets: tuple[float, ...] = ()
    # How a gauge of several processes is put together: their sum, or the greatest.
    together: Literal["livesum", "livemax"] = "livesum"

    @cached_property
    def _made(self) -> MetricWrapperBase:
        return self.make(REGISTRY)

    def make(self, registry: CollectorRegistry) -> MetricWrapperBase:
        kinds: dict[str, Callable[..., MetricWrapperBase]] = {
            "counter": Counter,
            "gauge": Gauge,
            "histogram": Histogram,
        }
        more: dict[str, Any] = {"buckets": self.buckets} if self.buckets else {}
        if self.kind == "gauge":
            more["multiprocess_mode"] = self.together
        return kinds[self.kind](self.name, self.meaning, self.labels, registry=registry, **more)

    def __call__(self, **labels: str) -> Any:
        """The metric with these labels, in the process's registry; made when it is first used."""
        return self._made.labels(**labels) if self.labels else self._made

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """A gauge's series, all at once: those that are not named are gone. Labels in the order of `labels`."""
        gauge: Any = self._made
        gauge.clear()
        for labels, value in values.items():
            gauge.labels(*labels).set(value)


SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 4000, 8000)

INGRESS_REQUESTS = Metric(
    "listwire_ingress_requests_total",
    "counter",
    ("route", "status"),
    "Requests answered, by route (mailchimp, amplitude, other) and HTTP status.",
    "ingress",
)
INGRESS_SECONDS = Metric(
    "listwire_ingress_seconds",
    "histogram",
    ("route",),
    "From the end of a stored request's headers to its answer, Kafka's acknowledgement included.",
    "ingress",
    SECONDS,
)
INGRESS_IN_FLIGHT = Metric(
    "listwire_ingress_bytes_in_flight", "gauge", (), "Bytes of bodies read and not yet answered.", "ingress"
)
RECORDS = Metric(
    "listwire_records_total",
    "counter",
    ("worker", "connection", "outcome"),
    "Webhooks, or users x sync for cohorts, by outcome: received, delivered, filtered, dead_lettered, and returned (given back to Kafka unsettled at a rebalance or stop; whoever reads them next counts them anew). received = delivered + filtered + dead_lettered + returned + listwire_records_in_flight.",
    "workers",
)
IN_FLIGHT = Metric(
    "listwire_records_in_flight", "gauge", ("worker", "connection"), "Records received and not yet settled.", "workers"
)
FILTERED_BY = Metric(
    "listwire_filtered_total",
    "counter",
    ("worker", "connection", "why"),
    "Records filtered on purpose, by cause (the webhook's type; for cohorts no_match, superseded, missing, out_of_date).",
    "workers",
)
DEAD_LETTERS = Metric(
    "listwire_dead_letters_total",
    "counter",
    ("worker", "connection", "reason"),
    "Dead letters written, by reason.",
    "workers",
)
DELIVERY_SECONDS = Metric(
    "listwire_delivery_seconds",
    "histogram",
    ("worker",),
    "From taking a delivery out of its lane until all of it has settled, retries included.",
    "workers",
    SECONDS,
)
DELIVERY_RECORDS = Metric(
    "listwire_delivery_records", "histogram", ("worker",), "Records a delivery.", "workers", SIZES
)
RETRIES = Metric(
    "listwire_delivery_retries_total",
    "counter",
    ("vendor", "cause"),
    "Attempts that will be made again, by the cause of the failure.",
    "workers",
)
REQUESTS = Metric(
    "listwire_vendor_requests_total",
    "counter",
    ("vendor", "status"),
    "Calls to the vendors by HTTP status, or by `timeout`, `reset` and the like.",
    "workers",
)
EVENTS_SENT = Metric(
    "listwire_vendor_request_records", "histogram", ("vendor",), "Events or members a call.", "workers", SIZES
)
LANE_BYTES = Metric(
    "listwire_lane_bytes",
    "gauge",
    ("worker", "partition"),
    "Bytes fetched from Kafka that wait in a partition's lane.",
    "workers",
)
CONNECTION_STATUS = Metric(
    "listwire_connection_status",
    "gauge",
    ("connection",),
    "0 waiting for the first event, 1 connected, 2 retrying, 3 refused, 4 paused.",
    "workers",
)
CONNECTION_LIMIT = Metric(
    "listwire_mailchimp_connections",
    "gauge",
    ("account",),
    "Simultaneous calls that Mailchimp is granted now; falls after 429 or a bodyless 403 and recovers.",
    "workers",
)
COHORT_MEMBERS = Metric(
    "listwire_cohort_members_total",
    "counter",
    ("connection", "outcome"),
    "Addresses in segment calls by what Mailchimp said: added, removed, unconfirmed (already so, or silently ignored), missing, rejected.",
    "workers",
)
SHARED_TAGS = Metric(
    "listwire_cohorts_sharing_a_tag",
    "gauge",
    ("connection",),
    "Cohorts seen since the start whose latest name another cohort also has: both write one tag. A worker sees the cohorts of its own partitions.",
    "workers",
)
PROGRESS_AGE = Metric(
    "listwire_progress_age_seconds",
    "gauge",
    ("worker",),
    "Seconds since something moved (a fetch, an attempt, a settlement) while records wait; 0 when none wait.",
    "workers",
)
WATCHDOG = Metric(
    "listwire_watchdog_total",
    "counter",
    ("worker", "event"),
    "What the watchdog did: unparked (aiokafka's coordinator went on after an error), slow_poll.",
    "workers",
)
LAG_RECORDS = Metric(
    "listwire_consumer_lag_records",
    "gauge",
    ("group", "topic", "partition"),
    "Records after the committed offset; transaction markers at the end do not count.",
    "exporter",
)
LAG_SECONDS = Metric(
    "listwire_consumer_lag_seconds",
    "gauge",
    ("group", "topic", "partition"),
    "Age of the oldest uncommitted record, read from the record.",
    "exporter",
)
RETENTION = Metric(
    "listwire_topic_retention_seconds",
    "gauge",
    ("topic",),
    "The topic's retention.ms in seconds; -1 keeps for ever.",
    "exporter",
)

LOST = Metric(
    "listwire_consumer_lost_offsets",
    "gauge",
    ("group", "topic", "partition"),
    "Offsets after the committed one that Kafka has deleted before the group read them; must be 0.",
    "exporter",
)
GROUP_MEMBERS = Metric(
    "listwire_consumer_group_members", "gauge", ("group",), "Workers that are in the group now.", "exporter"
)
GROUP_STATE = Metric(
    "listwire_consumer_group_state",
    "gauge",
    ("group", "state"),
    "1 for the state Kafka reports: Stable, PreparingRebalance, CompletingRebalance, Empty, or Dead (never seen, or long gone).",
    "exporter",
)
LETTERS_WAITING = Metric(
    "listwire_dead_letters_waiting",
    "gauge",
    ("connection", "reason"),
    "Dead letters that were neither replayed nor forgotten.",
    "exporter",
)
LETTERS_OLDEST = Metric(
    "listwire_dead_letters_oldest_seconds",
    "gauge",
    ("connection", "reason"),
    "Age of the oldest dead letter that waits; at the topic's retention Kafka deletes it.",
    "exporter",
)
TOPIC_RECORDS = Metric(
    "listwire_topic_records", "gauge", ("topic",), "Offsets between a topic's oldest record and its end.", "exporter"
)
TOPIC_BYTES = Metric(
    "listwire_topic_bytes", "gauge", ("topic",), "Bytes on the brokers' disks, all replicas.", "exporter"
)
EXPORTER_UP = Metric(
    "listwire_exporter_up",
    "gauge",
    (),
    "1 while Kafka answers the exporter. When it has not for a minute, the exporter's other series are gone.",
    "exporter",
)
SETTINGS_STALE = Metric(
    "listwire_settings_stale",
    "gauge",
    (),
    "1 while the settings on disk differ from those that the process runs with: it needs a restart (`listwire up` does that by itself).",
    "ingress, workers, exporter, scheduler",
    together="livemax",
)
WEBHOOK_OK = Metric(
    "listwire_webhook_ok",
    "gauge",
    ("source",),
    "1 while Mailchimp has the source's webhook as it should be, 0 where it is gone or changed; asked every 5 minutes for sources with an account, where ingress.public_url is set.",
    "exporter",
)
WEBHOOK_CHANGED = Metric(
    "listwire_webhook_changed",
    "gauge",
    ("source",),
    "1 where the webhook is there, but with another URL, other events or other sources.",
    "exporter",
)

SCHEDULE_STATUS = Metric(
    "listwire_cohort_schedule_status",
    "gauge",
    ("schedule",),
    "Of the last run of a cohort schedule: 0 none yet, 1 done, 2 failed, 3 refused by the guard (too many would lose the tag), 4 skipped, since the sync is paused.",
    "scheduler",
)
SCHEDULE_SUCCESS = Metric(
    "listwire_cohort_schedule_success_timestamp_seconds",
    "gauge",
    ("schedule",),
    "When a cohort schedule was last done, differences or none; seconds since the epoch.",
    "scheduler",
)
SCHEDULE_DUE = Metric(
    "listwire_cohort_schedule_due_timestamp_seconds",
    "gauge",
    ("schedule",),
    "When a cohort schedule is due next; stays in the past while its run goes on.",
    "scheduler",
)
SCHEDULE_OVERDUE = Metric(
    "listwire_cohort_schedule_overdue_seconds",
    "gauge",
    ("schedule",),
    "For how long a cohort schedule has been due, until its run has ended; else 0.",
    "scheduler",
)
SCHEDULE_RUNS = Metric(
    "listwire_cohort_schedule_runs_total",
    "counter",
    ("schedule", "outcome"),
    "Runs of cohort schedules: published, unchanged, failed, refused, paused.",
    "scheduler",
)
SCHEDULE_MEMBERS = Metric(
    "listwire_cohort_schedule_members_total",
    "counter",
    ("schedule", "change"),
    "People whom cohort schedules have published as entered or left.",
    "scheduler",
)
SCHEDULE_ABSENT = Metric(
    "listwire_cohort_schedule_absent",
    "gauge",
    ("schedule",),
    "People of the cohort, at the last run, who are not subscribed in the audience.",
    "scheduler",
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
