"""Writes the Grafana dashboards: `python ops/grafana/make.py`. A test fails when they are stale or use a metric that does not exist.

One row of panels a question; every panel says in its description what is normal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
STATUS = {"0": "waiting", "1": "connected", "2": "retrying", "3": "refused", "4": "paused"}

# title, unit, queries (expression, legend), what is normal, kind
Panel = tuple[str, str, list[tuple[str, str]], str, str]

BOARDS: dict[str, tuple[str, list[Panel]]] = {
    "flow": ("Listwire: flow", [
        ("Records by outcome", "cps", [("sum by (outcome) (rate(listwire_records_total[5m]))", "{{outcome}}")], "received = delivered + filtered + dead_lettered + returned + in flight.", "timeseries"),
        ("In flight", "short", [("sum by (connection) (listwire_records_in_flight)", "{{connection}}")], "Falls to 0 when nothing waits.", "timeseries"),
        ("Unaccounted for", "short", [('sum(listwire_records_total{outcome="received"}) - sum(listwire_records_total{outcome!="received"}) - sum(listwire_records_in_flight)', "records")], "Always 0: the identity of the counters.", "stat"),
        ("Ingress answers", "reqps", [("sum by (route, status) (rate(listwire_ingress_requests_total[5m]))", "{{route}} {{status}}")], "204 and 200; 503 means that Kafka does not acknowledge.", "timeseries"),
        ("Ingress, p99 to Kafka's acknowledgement", "s", [("histogram_quantile(0.99, sum by (le, route) (rate(listwire_ingress_seconds_bucket[5m])))", "{{route}}")], "Milliseconds. Mailchimp gives up after 10 s.", "timeseries"),
        ("Delivery, p50 and p99", "s", [(f"histogram_quantile({q}, sum by (le, worker) (rate(listwire_delivery_seconds_bucket[5m])))", f"{{{{worker}}}} p{int(q * 100)}") for q in (0.5, 0.99)], "The vendor's own time and little more, unless it is retried.", "timeseries"),
    ]),
    "lag": ("Listwire: lag", [
        ("Behind", "s", [("max by (group) (listwire_consumer_lag_seconds)", "{{group}}")], "Age of the oldest uncommitted record; 0 when nothing waits.", "timeseries"),
        ("Records waiting", "short", [("sum by (group) (listwire_consumer_lag_records)", "{{group}}")], "Grows with a vendor that is down; nothing is lost.", "timeseries"),
        ("By partition", "short", [("listwire_consumer_lag_records", "{{topic}} {{partition}}")], "One partition far ahead of the others: one busy contact or cohort.", "timeseries"),
        ("Workers", "short", [("listwire_consumer_group_members", "{{group}}")], "At least one a group.", "stat"),
        ("Share of the retention used up", "percentunit", [("max by (topic) (listwire_consumer_lag_seconds) / max by (topic) (listwire_topic_retention_seconds > 0)", "{{topic}}")], "What Kafka deletes was answered 2xx: over 0.5 is an alert.", "timeseries"),
        ("Bytes waiting in lanes", "bytes", [("sum by (worker) (listwire_lane_bytes)", "{{worker}}")], "Bounded; the rest waits in Kafka.", "timeseries"),
    ]),
    "vendors": ("Listwire: vendors", [
        ("Connections", "short", [("max by (connection) (listwire_connection_status)", "{{connection}}")], "connected, or waiting for the first event.", "state"),
        ("Retries by cause", "cps", [("sum by (vendor, cause) (rate(listwire_delivery_retries_total[5m]))", "{{vendor}} {{cause}}")], "None. 429 is throttling, 5xx and timeout are theirs.", "timeseries"),
        ("Calls by status", "reqps", [("sum by (vendor, status) (rate(listwire_vendor_requests_total[5m]))", "{{vendor}} {{status}}")], "200.", "timeseries"),
        ("Records a call, mean", "short", [("sum by (vendor) (rate(listwire_vendor_request_records_sum[5m])) / sum by (vendor) (rate(listwire_vendor_request_records_count[5m]))", "{{vendor}}")], "Grows by itself under load.", "timeseries"),
        ("Mailchimp connections granted", "short", [("min by (account) (listwire_mailchimp_connections)", "{{account}}")], "The setting's number; falls after 429 and recovers.", "timeseries"),
        ("Members by what Mailchimp said", "cps", [("sum by (connection, outcome) (rate(listwire_cohort_members_total[5m]))", "{{connection}} {{outcome}}")], "missing: not in the audience, never created by us.", "timeseries"),
    ]),
    "dead-letters": ("Listwire: dead letters", [
        ("Waiting", "short", [("sum by (connection, reason) (listwire_dead_letters_waiting)", "{{connection}} {{reason}}")], "None.", "timeseries"),
        ("Oldest", "s", [("max by (connection) (listwire_dead_letters_oldest_seconds)", "{{connection}}")], "Kafka keeps them for 14 days.", "timeseries"),
        ("Written", "cps", [("sum by (connection, reason) (rate(listwire_dead_letters_total[5m]))", "{{connection}} {{reason}}")], "None.", "timeseries"),
        ("Filtered on purpose", "cps", [("sum by (connection, why) (rate(listwire_filtered_total[5m]))", "{{connection}} {{why}}")], "Other webhook types; for cohorts who is not in the audience.", "timeseries"),
    ]),
}  # fmt: skip


def panel(number: int, spec: Panel) -> dict[str, Any]:
    title, unit, queries, normal, kind = spec
    defaults: dict[str, Any] = {"unit": unit, "min": 0}
    if kind == "state":
        defaults = {"mappings": [{"type": "value", "options": {k: {"text": v} for k, v in STATUS.items()}}]}
    return {
        "id": number + 1,
        "title": title,
        "description": f"Normal: {normal}",
        "type": {"state": "state-timeline"}.get(kind, kind),
        "datasource": SOURCE,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(queries)
        ],
    }


def board(name: str) -> str:
    title, panels = BOARDS[name]
    document = {
        "uid": f"listwire-{name}", "title": title, "tags": ["listwire"], "timezone": "browser", "schemaVersion": 39, "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"}, "panels": [panel(i, spec) for i, spec in enumerate(panels)],
    }  # fmt: skip
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name in BOARDS:
        (HERE / f"{name}.json").write_text(board(name))
