"""Cohorts whose names are one tag: each takes away what the other gave, so people are told.

A cohort that is renamed has left its tag to the other: then nothing is shared any more. A worker hears of the cohorts in its
own partitions alone.
"""

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
        self._named: dict[str, str] = {}
        self.shared = 0

    def note(self, tag: Tag, cohort_id: str, *, current: bool = True) -> None:
        """`current`: false where a change may still bear the cohort's former name: one that was replayed, or that takes the
        former tag away.
        """
        former = self._named.get(cohort_id)
        if former == tag.key or (former is not None and not current):
            return
        if former is not None:
            self._leave(former, cohort_id)
        seen = self._cohorts.setdefault(tag.key, [])
        if len(seen) < MOST:
            seen.append(cohort_id)
            self._named[cohort_id] = tag.key
            if len(seen) > 1:
                log.warning(
                    "two cohorts of one name share a tag", connection=self.connection, tag=tag.name, cohorts=seen
                )
        self._count()

    def _leave(self, former: str, cohort_id: str) -> None:
        del self._named[cohort_id]
        left = self._cohorts[former]
        left.remove(cohort_id)
        if not left:
            del self._cohorts[former]

    def _count(self) -> None:
        shared = sum(len(seen) for seen in self._cohorts.values() if len(seen) > 1)
        if shared != self.shared:
            self.shared = shared
            metrics.SHARED_TAGS(connection=self.connection).set(shared)
