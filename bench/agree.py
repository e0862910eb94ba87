"""Before anything is measured: the peers' event builder and Listwire's codec make the same JSON of the same records."""

from __future__ import annotations

import orjson

from bench import workload
from bench.peers.event import to_event
from stream.codecs.mailchimp_webhook import Event, Webhooks


def events_agree(count: int = 2000) -> None:
    read = Webhooks(workload.SOURCE, workload.AUDIENCE).reader()
    for number in range(count):
        form = workload.form(number)
        ours, theirs = read(form), to_event(form)
        same = orjson.loads(ours.body) == theirs if isinstance(ours, Event) else theirs is None
        if not same or isinstance(ours, Event) != workload.kept(number):
            raise SystemExit(f"record {number} is read differently:\n{form!r}\n{ours!r}\n{theirs!r}")
