"""What can be set of cohorts that Listwire fetches by itself: one table a cohort. No reading here; due times are in listwire.cohorts.due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from listwire.settings.models import Table
from listwire.settings.values import Name, Zone, wrong


def _cron(value: str) -> str:
    """Five fields, as cron's own. The library would take seconds as a sixth, which nobody's limits allow."""
    fields = value.split()
    if len(fields) != 5:
        raise wrong("a schedule has five fields: minute, hour, day of the month, month, day of the week")
    try:
        next(CronSim(" ".join(fields), datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as fault:
        raise wrong(f"no schedule: {str(fault)[:1].lower()}{str(fault)[1:]}") from None
    except StopIteration:
        raise wrong("this never comes") from None
    return " ".join(fields)


Cron = Annotated[str, AfterValidator(_cron)]
Share = Annotated[float, Field(ge=0, le=1)]


class CohortSchedule(Table):
    """A cohort that is fetched from Amplitude at set times and compared with its tag. It needs the project's `secret_key`."""

    sync: Name = Field(examples=["newsletter"])
    """The `[cohort_syncs.NAME]` whose audience holds the tag; its `cohorts` patterns must match the cohort's name."""
    amplitude: Name = Field(examples=["product"])
    """The `[amplitude.NAME]` that the cohort belongs to."""
    cohort: str = Field(min_length=1, examples=["Power users"])
    """The cohort's name or its id. An id still finds it when somebody gives it another name, which is then another tag."""
    cron: Cron = Field("0 */2 * * *", examples=["0 */2 * * *"])
    """When: minute, hour, day of the month, month, day of the week. Amplitude allows a project 500 downloads a month; every two hours is 372 of them."""
    timezone: Zone = Field("UTC", examples=["UTC"])
    """The zone of `cron`."""
    max_removal: Share = Field(0.5, examples=[0.5])
    """The largest share of a tag's members that one run may take it off; more is refused, and nothing is done. An empty cohort is refused whatever stands here."""
    email_property: str | None = Field(None, min_length=1, examples=["email"])
    """Amplitude's user property that holds the address; `user_id` takes the id itself. Absent: the sync's."""
