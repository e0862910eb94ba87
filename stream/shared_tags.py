"""Cohorts whose names are one tag: each takes away what the other gave, so people are told."""

from __future__ import annotations

from listwire import logs, metrics
from stream.tag_ids import Tag

log = logs.get("stream.shared_tags")
# Ids remembered of one name: enough to tell of it, and bounded whatever the names are.
MOST = 20


class SharedTags:
    """Of one connection, since the start."""

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self._cohorts: dict[str, list[str]] = {}
        self.shared = 0

    def note(self, tag: Tag, cohort_id: str) -> None:
        seen = self._cohorts.setdefault(tag.key, [])
        if cohort_id in seen or len(seen) >= MOST:
            return
        seen.append(cohort_id)
        if len(seen) > 1:
            log.warning("two cohorts of one name share a tag", connection=self.connection, tag=tag.name, cohorts=seen)
            self.shared += 2 if len(seen) == 2 else 1
            metrics.SHARED_TAGS(connection=self.connection).set(self.shared)
