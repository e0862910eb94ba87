"""What `listwire check` asks Amplitude of cohort schedules: whether their cohorts are there, and whether a month's downloads are enough.

Costs no download.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from listwire.cli.cohorts_sync_run import fit
from listwire.cohorts.differences import chosen
from listwire.cohorts.due import count_due
from listwire.errors import ListwireError, VendorError
from listwire.findings import Finding, failed, note, ok
from listwire.settings import Settings
from listwire.spoken import count
from vendors.accounts import amplitude_cohorts
from vendors.amplitude_cohorts import Cohort, Usage

MONTH = 31 * 86_400.0


async def schedules(settings: Settings) -> list[Finding]:
    by_project: defaultdict[str, list[str]] = defaultdict(list)
    for name, schedule in settings.cohort_schedules.items():
        by_project[schedule.amplitude].append(name)
    findings = []
    for project, names in by_project.items():
        try:
            async with amplitude_cohorts(settings, project) as client:
                cohorts, usage = await client.cohorts(), await client.usage()
        except VendorError as fault:
            way = f"check amplitude.{project}.secret_key, and that the plan has the Behavioral Cohorts API"
            findings.append(failed(f"cohorts of {project}", f"cannot be read: {fault}", way))
            continue
        findings += [_cohort(settings, name, cohorts) for name in names]
        findings.append(_month(settings, project, names, usage, time.time()))
    return findings


def _cohort(settings: Settings, name: str, cohorts: list[Cohort]) -> Finding:
    check, schedule = f"cohort_schedules.{name}", settings.cohort_schedules[name]
    try:
        cohort = chosen(cohorts, schedule.cohort)
        fit(settings, schedule.sync, cohort)
    except ListwireError as fault:
        return failed(check, str(fault))
    return ok(check, f"{cohort.name!r} ({cohort.id}) has {count(cohort.size, 'user')}")


def _month(settings: Settings, project: str, names: Sequence[str], usage: Usage, now: float) -> Finding:
    tables = [settings.cohort_schedules[name] for name in names]
    needed = sum(count_due(each.cron, each.timezone, now, now + MONTH) for each in tables)
    words = f"{usage.used} of this month's {usage.limit} downloads are used; its schedules take {needed} in 31 days"
    if needed > usage.limit:
        return note(f"cohorts of {project}", words, "run them less often (`cron`), or the last ones of a month fail")
    return ok(f"cohorts of {project}", words)
